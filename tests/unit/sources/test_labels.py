"""From values and colours to class ids."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.labels import ids_from_colours, ids_from_values
from tests.unit.sources.conftest import data_error

MASK = Path("masks/a.png")
BYTES = st.integers(0, 255)
COLOURS = st.tuples(BYTES, BYTES, BYTES)


@settings(deadline=None)
@given(ids=st.dictionaries(BYTES, BYTES, min_size=1), seed=BYTES)
def test_each_value_becomes_its_id(ids: dict[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).choice(list(ids), (5, 7)).astype(np.uint8)
    expected = [[ids[value] for value in row] for row in values.tolist()]

    assert ids_from_values(values, ids, MASK).tolist() == expected


@settings(deadline=None)
@given(ids=st.dictionaries(COLOURS, BYTES, min_size=1), seed=BYTES)
def test_each_colour_becomes_its_id(ids: dict[tuple[int, int, int], int], seed: int) -> None:
    colours = np.random.default_rng(seed).choice(np.array(list(ids)), (5, 7)).astype(np.uint8)
    expected = [[ids[tuple(pixel)] for pixel in row] for row in colours.tolist()]

    assert ids_from_colours(colours, ids, MASK).tolist() == expected


def test_an_unknown_value_is_told_with_its_place_and_what_was_wanted() -> None:
    values = np.zeros((3, 4), dtype=np.uint8)
    values[1, 2], values[2, 0] = 9, 8

    expected = "masks/a.png holds the value 9 at row 1, column 2, wanted 0..2, 5, 255"
    said = data_error(ids_from_values, values, dict.fromkeys((0, 1, 2, 5, 255), 0), MASK)
    assert said.startswith(expected)


@settings(deadline=None)
@given(unknown=COLOURS.filter(lambda colour: colour != (7, 8, 9)))
def test_an_unknown_colour_is_told_with_its_place(unknown: tuple[int, int, int]) -> None:
    colours = np.full((3, 4, 3), (7, 8, 9), dtype=np.uint8)
    colours[2, 1] = unknown

    expected = f"masks/a.png holds the colour {list(unknown)} at row 2, column 1, which"
    assert data_error(ids_from_colours, colours, {(7, 8, 9): 0}, MASK).startswith(expected)
