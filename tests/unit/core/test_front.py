"""The front and the area it dominates, against a count of unit squares."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.front import hypervolume, pareto_front

Point = tuple[int, int]

SIDE = 8
REFERENCE = (SIDE, SIDE)
POINTS = st.lists(st.tuples(st.integers(0, SIDE + 2), st.integers(0, SIDE + 2)), max_size=12)


def dominates(one: Point, other: Point) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def squares_dominated(points: list[Point]) -> int:
    """Count the unit squares below the reference with a point at or below their lower corner."""
    corners = product(range(SIDE), repeat=2)
    return sum(any(p[0] <= x and p[1] <= y for p in points) for x, y in corners)


def test_a_staircase_has_the_area_of_its_steps() -> None:
    """The points (i, n - i) for i from 0 to n dominate n(n + 1) / 2 + n + 1 of (n + 1)^2."""
    n = 9
    steps = [(i, n - i) for i in range(n + 1)]

    assert hypervolume(steps, (n + 1, n + 1)) == n * (n + 1) / 2 + n + 1


def test_one_point_dominates_its_rectangle() -> None:
    assert hypervolume([(0.25, -0.75)], (1.0, 0.0)) == 0.75 * 0.75


@pytest.mark.parametrize("points", [[], [(2, 0)], [(0, 2)], [(1, 0)], [(0, 1)], [(5, 5)]])
def test_nothing_below_the_reference_has_no_area(points: list[Point]) -> None:
    assert hypervolume(points, (1, 1)) == 0.0


@given(POINTS)
def test_the_area_is_that_of_the_union_of_rectangles(points: list[Point]) -> None:
    assert hypervolume(points, REFERENCE) == squares_dominated(points)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_area_does_not_depend_on_the_order(points: list[Point], random: object) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random

    assert hypervolume(shuffled, REFERENCE) == hypervolume(points, REFERENCE)


@given(POINTS, st.tuples(st.floats(-5, 20), st.floats(-5, 20)))
def test_a_further_point_never_lowers_the_area(
    points: list[Point], further: tuple[float, float]
) -> None:
    assert hypervolume([*points, further], REFERENCE) >= hypervolume(points, REFERENCE)


@given(POINTS, st.integers(0, 5), st.integers(0, 5))
def test_a_point_beyond_the_reference_adds_nothing(points: list[Point], dx: int, dy: int) -> None:
    beyond = [(SIDE + dx, 0), (0, SIDE + dy)]

    assert hypervolume(points + beyond, REFERENCE) == hypervolume(points, REFERENCE)


@given(POINTS)
def test_no_member_of_the_front_is_dominated(points: list[Point]) -> None:
    front = [points[i] for i in pareto_front(points)]

    assert not any(dominates(point, member) for member in front for point in points)


@given(POINTS)
def test_the_front_dominates_or_equals_every_point(points: list[Point]) -> None:
    front = [points[i] for i in pareto_front(points)]

    assert all(any(m == p or dominates(m, p) for m in front) for p in points)


@given(POINTS)
def test_the_front_rises_in_the_first_objective_and_falls_in_the_second(
    points: list[Point],
) -> None:
    front = [points[i] for i in pareto_front(points)]

    assert front == sorted(set(front))
    assert [y for _, y in front] == sorted({y for _, y in front}, reverse=True)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(points: list[Point], random: object) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random

    assert [shuffled[i] for i in pareto_front(shuffled)] == [
        points[i] for i in pareto_front(points)
    ]


def test_of_equal_points_the_first_is_kept() -> None:
    assert pareto_front([(3, 3), (1, 2), (1, 2), (2, 1)]) == [1, 3]


def test_no_points_have_no_front() -> None:
    assert pareto_front([]) == []
