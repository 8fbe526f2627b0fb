"""Deployed sizes foretold from those of trained networks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.shrinkage import fit_shrinkage

SIZES = st.lists(st.integers(1_000, 10**7), min_size=1, max_size=12, unique=True)


def test_before_any_training_nothing_is_foretold_to_die() -> None:
    built = np.array([1e5, 5e5])
    known = fit_shrinkage(np.zeros(0), np.zeros(0))

    assert known.deployed(built) == pytest.approx(built)
    assert known.error is None


@given(SIZES, st.floats(0.01, 1.0))
def test_a_share_that_is_always_the_same_is_learned_exactly(sizes: list[int], share: float) -> None:
    built = np.array(sizes, dtype=float)
    known = fit_shrinkage(built, share * built)

    assert known.deployed(np.array([2e4, 3e6])) == pytest.approx(share * np.array([2e4, 3e6]))
    assert known.error is None if len(sizes) == 1 else known.error == pytest.approx(0, abs=1e-6)


def test_larger_networks_may_lose_a_larger_share() -> None:
    built = np.geomspace(1e5, 1e6, 10)
    known = fit_shrinkage(built, 20 * built**0.7)

    assert known.deployed(np.array([2e5, 9e5])) == pytest.approx(
        20 * np.array([2e5, 9e5]) ** 0.7, 0.02
    )


def test_the_error_is_that_on_networks_not_seen() -> None:
    """Computed the long way: leave one out, fit, foretell it."""
    draw = np.random.default_rng(0)
    built = draw.uniform(2e5, 5e5, 9)
    deployed = built * draw.uniform(0.3, 0.6, 9)
    known = fit_shrinkage(built, deployed)
    errors = []
    for i in range(9):
        rest = np.arange(9) != i
        x = np.log(built[rest])
        y = np.log(deployed / built)[rest]
        # The ridge is on what is centred with the one that is left out still there.
        X = np.column_stack((np.ones(8), x - np.log(built).mean()))
        level, slope = np.linalg.solve(X.T @ X + np.diag((0, 0.1)), X.T @ y)
        at = np.log(built[i]) - np.log(built).mean()
        errors.append(np.log(deployed[i] / built[i]) - level - slope * at)

    assert known.error == pytest.approx(np.expm1(np.sqrt(np.mean(np.square(errors)))))


def test_no_network_is_foretold_to_grow() -> None:
    known = fit_shrinkage(np.array([1e5, 1e6]), np.array([5e4, 1e6]))

    assert (known.deployed(np.array([1e4, 1e8])) <= [1e4, 1e8]).all()
