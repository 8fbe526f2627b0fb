"""The rows of a PNG as its filters left them, put back together, compiled by numba."""

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.compiled import compiled
from pipeline.sources.png import NONE, UP


@compiled()
def unfilter(filtered: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    """Undo the filters None and Up (PNG, section 9.2); False once a row has another one.

    Args:
        filtered: (rows, 1 + bytes), of each row its filter first.
        out: (rows, bytes), where the pixels are put.
    """
    above = np.zeros(out.shape[1], np.uint8)
    for row in range(len(out)):
        left, place = filtered[row, 1:], out[row]
        if filtered[row, 0] == NONE:
            above[:] = 0
        elif filtered[row, 0] != UP:
            return False
        for i in range(len(above)):
            value = np.uint8(above[i] + left[i])
            above[i] = value
            place[i] = value
    return True
