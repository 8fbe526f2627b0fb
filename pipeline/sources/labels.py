"""From what a label file holds, values or colours, to class ids."""

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.manifest import Colour


def ids_from_values(
    values_HW: NDArray[np.uint8], ids: Mapping[int, int], path: Path
) -> NDArray[np.uint8]:
    """Return the class id of each pixel.

    Args:
        values_HW: what the label file holds.
        ids: class id of each value, 0..255, that may be in it.
        path: the file's, to be named in an error.

    Raises:
        DataError: a value is not in ``ids``.
    """
    are_ids = all(value == id_ for value, id_ in ids.items())
    if are_ids and values_HW.max() < next(n for n in count() if n not in ids):
        return values_HW  # a maximum is found in an eighth of the time of what follows
    values = values_HW.tobytes()  # bytes are looked up faster than arrays
    if unknown := values.translate(None, delete=bytes(ids)):
        y, x = _first(values_HW == unknown[0])
        raise DataError(
            f"{path} holds the value {values_HW[y, x]} at row {y}, column {x}, wanted "
            f"{_ranges(ids)}: map its values to classes"
        )
    if are_ids:
        return values_HW
    known = values.translate(bytes.maketrans(bytes(ids), bytes(ids.values())))
    return np.frombuffer(known, dtype=np.uint8).reshape(values_HW.shape)


def ids_from_colours(
    colours_HWC: NDArray[np.uint8], ids: Mapping[Colour, int], path: Path
) -> NDArray[np.uint8]:
    """Return the class id of each pixel of a mask in colours; as ``ids_from_values``.

    Raises:
        DataError: a colour is not in ``ids``.
    """
    red, green, blue = np.moveaxis(colours_HWC.astype(np.int32), -1, 0)
    pixels_HW = red << 16 | green << 8 | blue
    known = sorted((r << 16 | g << 8 | b, id_) for (r, g, b), id_ in ids.items())
    codes = np.array([code for code, _ in known], dtype=np.int32)
    table = np.array([id_ for _, id_ in known], dtype=np.uint8)
    place_HW: NDArray[np.intp] = np.minimum(np.searchsorted(codes, pixels_HW), len(codes) - 1)
    unknown_HW = codes[place_HW] != pixels_HW
    if unknown_HW.any():
        y, x = _first(unknown_HW)
        raise DataError(
            f"{path} holds the colour {colours_HWC[y, x].tolist()} at row {y}, column {x}, which "
            "is of no class: add it to the classes or to the ignored colours"
        )
    return table[place_HW]


def _first(mask_HW: NDArray[np.bool_]) -> tuple[int, int]:
    y, x = np.unravel_index(int(mask_HW.argmax()), mask_HW.shape)
    return int(y), int(x)


def _ranges(values: Iterable[int]) -> str:
    """Return numbers for people: ``0..10, 255``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{low}..{high}" if low < high else f"{low}" for low, high in runs)
