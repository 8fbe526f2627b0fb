"""What is counted of pictures and labels is exact, whatever their size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable
from pipeline.runtime.pictures import ChannelSums, count_classes

ALL = ClassTable(tuple(map(str, range(255))), ((0, 0, 0),) * 255, ignore_index=255)
HEIGHTS = st.integers(1, 400)  # of the highest a float32 cannot hold a white column's squares
SIZES = st.tuples(HEIGHTS, st.integers(1, 9))


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@settings(deadline=None)
@given(SIZES, st.booleans())
def test_sums_over_channels_are_those_of_whole_numbers(size: tuple[int, int], white: bool) -> None:
    image_HWC = np.full((*size, 3), 255, dtype=np.uint8) if white else noise(*size, 3)
    pixels = image_HWC.reshape(-1, 3).astype(int)

    assert ChannelSums.of(image_HWC) == ChannelSums(
        len(pixels), tuple(pixels.sum(axis=0)), tuple((pixels**2).sum(axis=0))
    )


@settings(deadline=None)
@given(arrays.arrays(np.uint8, SIZES))
def test_every_pixel_of_a_label_is_counted_once(label_HW: NDArray[np.uint8]) -> None:
    wanted = np.bincount(label_HW.reshape(-1), minlength=256)

    assert count_classes(label_HW, ALL, "it") == tuple(wanted)


@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_label_that_is_no_class_is_refused_wherever_it_is(place: int) -> None:
    label_HW = np.zeros((3, 5), dtype=np.uint8)
    label_HW.reshape(-1)[place] = 7

    with pytest.raises(DataError, match=r"it holds the label 7, wanted 0\.\.1, or 255"):
        count_classes(label_HW, ClassTable(("a", "b"), ((0, 0, 0),) * 2, 255), "it")
