"""Bare PNGs decoded: this project's own, which its shards hold, twice as quick as by libpng.

libdeflate inflates one, and a compiled loop puts its rows together. Both take each picture at one
go without the interpreter's lock, so that threads decode side by side like processes. H height, W
width.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sources import png


def decode(
    content: bytes | memoryview, shape: tuple[int, ...], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of a file.

    Args:
        content: the file.
        shape: that ``png.bare_shape`` has said of it.
        out: where to put them, contiguous and of that shape, if not into new memory.

    Raises:
        OSError: the file is damaged.
    """
    png.check(content)
    if (filtered := png.filtered_rows(content, shape)) is not None:
        pixels = np.empty(shape, dtype=np.uint8) if out is None else out
        if _unfilter()(filtered, pixels.reshape(len(filtered), -1)):
            return pixels
    return png.by_libpng(content, out)


@cache
def _unfilter() -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]:
    # Whoever reads no such file does not wait for numba.
    from pipeline.learning.png_kernels import unfilter

    return unfilter
