"""The front and its hypervolume against their definitions.

Coordinates are whole numbers, so that areas are exact and ties are frequent.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.front import hypervolume, pareto_front, thinned_front

SIDE = 9
POINT = st.tuples(st.integers(-3, SIDE + 3), st.integers(-3, SIDE + 3))
POINTS = st.lists(POINT, max_size=12)
SOME_POINTS = st.lists(POINT, min_size=1, max_size=12)
REFERENCE = (SIDE, SIDE - 2)


def area_by_cells(points: list[tuple[int, int]], reference: tuple[int, int]) -> int:
    """Count the unit cells that lie above and right of a point, below and left of the reference."""
    return sum(
        any(x <= i and y <= j for x, y in points)
        for i in range(-3, reference[0])
        for j in range(-3, reference[1])
    )


def as_rows(points: list[tuple[int, int]], indices: list[int]) -> list[tuple[int, int]]:
    return [points[index] for index in indices]


def test_the_area_of_a_staircase_is_its_closed_form() -> None:
    staircase = [(1, 4), (2, 2), (4, 1)]

    assert hypervolume(staircase, (6, 5)) == 5 * 1 + 4 * 2 + 2 * 1


def test_the_area_of_one_point_is_its_rectangle() -> None:
    assert hypervolume([(0.25, 0.5)], (1.0, 1.0)) == pytest.approx(0.375)


@given(POINTS)
def test_the_area_is_that_of_the_union_of_rectangles(points: list[tuple[int, int]]) -> None:
    assert hypervolume(points, REFERENCE) == area_by_cells(points, REFERENCE)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_area_does_not_depend_on_the_order(
    points: list[tuple[int, int]], random: np.random.Generator
) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)

    assert hypervolume(shuffled, REFERENCE) == hypervolume(points, REFERENCE)


@given(POINTS, POINT)
def test_a_further_point_never_lowers_the_area(
    points: list[tuple[int, int]], point: tuple[int, int]
) -> None:
    assert hypervolume([*points, point], REFERENCE) >= hypervolume(points, REFERENCE)


@given(POINTS)
def test_the_front_alone_has_the_whole_area(points: list[tuple[int, int]]) -> None:
    front = as_rows(points, pareto_front(points))

    assert hypervolume(front, REFERENCE) == hypervolume(points, REFERENCE)


@pytest.mark.parametrize(
    "beyond", [(REFERENCE[0], 0), (0, REFERENCE[1]), (REFERENCE[0] + 1, -100), (-100, 50)]
)
def test_a_point_on_or_beyond_the_reference_adds_nothing(beyond: tuple[int, int]) -> None:
    points = [(1, 4), (4, 1)]

    assert hypervolume([*points, beyond], REFERENCE) == hypervolume(points, REFERENCE)


@pytest.mark.parametrize("empty", [[], np.empty((0, 2))])
def test_no_points_have_no_front_and_no_area(empty: list[int] | NDArray[np.float64]) -> None:
    assert (pareto_front(empty), hypervolume(empty, REFERENCE)) == ([], 0.0)


def test_the_front_of_a_hand_made_set_is_known() -> None:
    points = [(5, 1), (1, 5), (3, 3), (3, 4), (4, 3), (6, 6), (2, 5)]

    assert pareto_front(points) == [1, 2, 0]


@given(SOME_POINTS)
def test_no_point_of_the_front_dominates_another(points: list[tuple[int, int]]) -> None:
    front = as_rows(points, pareto_front(points))

    assert front
    assert not any(a[0] <= b[0] and a[1] <= b[1] for a in front for b in front if a is not b), front


@given(SOME_POINTS)
def test_every_point_is_matched_or_beaten_by_the_front(points: list[tuple[int, int]]) -> None:
    front = as_rows(points, pareto_front(points))

    assert all(any(x <= px and y <= py for x, y in front) for px, py in points)


@given(POINTS)
def test_the_front_rises_in_the_first_objective_and_falls_in_the_second(
    points: list[tuple[int, int]],
) -> None:
    front = as_rows(points, pareto_front(points))

    assert front == sorted(front)
    assert [y for _, y in front] == sorted((y for _, y in front), reverse=True)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_points_on_the_front_do_not_depend_on_the_order(
    points: list[tuple[int, int]], random: np.random.Generator
) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)

    assert as_rows(shuffled, pareto_front(shuffled)) == as_rows(points, pareto_front(points))


def test_the_first_of_equal_points_is_kept() -> None:
    assert pareto_front([(2, 2), (1, 3), (1, 3), (2, 2)]) == [1, 0]


@given(SOME_POINTS, st.integers(1, 4))
def test_a_thinned_front_is_the_front_without_what_costs_least(
    points: list[tuple[int, int]], most: int
) -> None:
    front, kept = pareto_front(points), thinned_front(points, REFERENCE, most)

    assert kept == [index for index in front if index in kept]
    assert len(kept) == min(most, len(front))
    assert kept[-1] == front[-1]
    if len(front) == most + 1:
        area = hypervolume(as_rows(points, kept), REFERENCE)
        others = [front[:i] + front[i + 1 :] for i in range(len(front) - 1)]
        assert area == max(hypervolume(as_rows(points, rows), REFERENCE) for rows in others)
