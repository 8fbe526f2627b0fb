"""Expected hypervolume improvement against its integral, and the shortcut against the whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.acquisition import (
    Staircase,
    expected_hypervolume_improvement,
    expected_improvement,
    most_promising,
)
from pipeline.core.front import hypervolume

LIMIT, FLOOR = 10.0, 0.2
SIZES = np.array([2.0, 5.0, 5.0, 7.0, 9.0, 11.0])
VALUES = np.array([0.3, 0.5, 0.45, 0.4, 0.7, 0.9])


def area(sizes: np.ndarray, values: np.ndarray) -> float:
    return hypervolume(np.column_stack((sizes, -values)), (LIMIT, -FLOOR))


def test_a_staircase_holds_what_is_on_the_front_within_the_reference() -> None:
    stairs = Staircase.of(SIZES, VALUES, LIMIT, FLOOR)

    assert stairs.edges.tolist() == [-np.inf, 2, 5, 9, LIMIT]
    assert stairs.levels.tolist() == [FLOOR, 0.3, 0.5, 0.7]
    assert stairs.level_at(np.array([1.0, 2.0, 8.0, 9.5, 99.0])).tolist() == [
        *(FLOOR, 0.3, 0.5, 0.7, 0.7)
    ]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5)
def test_the_closed_form_is_the_integral_of_the_improvement(seed: int) -> None:
    g = np.random.default_rng(seed)
    seen = g.uniform(1, 12, 5), g.uniform(0, 1, 5)
    size, mean, sd = g.uniform(1, 12), g.uniform(0, 1), g.uniform(0.02, 0.3)
    before = area(*seen)
    z, step = np.linspace(-8, 8, 1601, retstep=True)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    reached = [area(np.append(seen[0], size), np.append(seen[1], y)) for y in mean + sd * z]
    wanted = np.sum(density * (np.array(reached) - before)) * step

    stairs = Staircase.of(*seen, LIMIT, FLOOR)
    (told,) = expected_hypervolume_improvement(
        np.array([size]), np.array([mean]), np.array([sd]), stairs
    )
    assert abs(told - wanted) < 1e-4


def test_expected_improvement_without_a_front_is_the_usual_one() -> None:
    told = expected_improvement(np.array([0.0]), np.array([1.0]), 0.0)

    np.testing.assert_allclose(told, 1 / np.sqrt(2 * np.pi))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_the_most_promising_is_the_best_of_all(seed: int) -> None:
    g = np.random.default_rng(seed)
    sizes = np.sort(g.uniform(1, 11, 5000))
    mean, sd = g.normal(0.4, 0.2, 5000), g.uniform(0.01, 0.2, 5000)
    stairs = Staircase.of(g.uniform(1, 11, 30), g.uniform(0, 1, 30), LIMIT, FLOOR)
    whole = expected_hypervolume_improvement(sizes, mean, sd, stairs)

    assert most_promising(sizes, mean, sd, stairs) == whole.argmax()


def test_when_nothing_promises_anything_the_most_hopeful_is_taken() -> None:
    stairs = Staircase.of(np.array([1.0]), np.array([0.9]), LIMIT, FLOOR)
    mean, sd = np.array([0.1, 0.3, 0.2]), np.full(3, 1e-4)

    assert most_promising(np.array([2.0, 3.0, 4.0]), mean, sd, stairs) == 1
