"""Proposals: from the free rows only, away from what runs, from many observations too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.encoding import encode
from pipeline.core.proposer import MAX_OBSERVATIONS, Observations, Proposer
from pipeline.core.space import Pool, load_space

NONE = np.zeros(0, dtype=np.int64)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_space("cgnet").pool(11).within(500_000)


@pytest.fixture(scope="module")
def proposer(pool: Pool) -> Proposer:
    return Proposer(encode(pool), pool.num_params.astype(float), 500_001, 0.0, 1024)


def observed(proposer: Proposer, count: int, seed: int = 0) -> Observations:
    rows = np.random.default_rng(seed).choice(len(proposer.sizes), count, replace=False)
    values = 0.3 + 0.2 * proposer.features[rows, 1] + 0.05 * proposer.features[rows, 0]
    return Observations(rows, values, np.zeros(count))


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
@settings(max_examples=8)
def test_a_proposal_is_one_of_the_free_rows_and_the_same_again(
    proposer: Proposer, seed: int, count: int
) -> None:
    own = observed(proposer, count, seed)
    free = np.setdiff1d(np.arange(len(proposer.sizes)), own.rows)
    first, again = (
        proposer.propose(free, own, NONE, Observations(), np.random.default_rng(seed))
        for _ in range(2)
    )

    assert first == again
    assert first in free


def test_what_is_running_is_not_proposed_anew_in_another_guise(proposer: Proposer) -> None:
    own = observed(proposer, 30)
    free = np.setdiff1d(np.arange(len(proposer.sizes)), own.rows)
    alone = proposer.propose(free, own, NONE, Observations(), np.random.default_rng(0))
    running = np.array([alone])
    second = proposer.propose(free, own, running, Observations(), np.random.default_rng(0))
    gap = np.abs(proposer.features[alone] - proposer.features[second]).sum()

    assert gap > 0.1


def test_many_observations_are_thinned_and_keep_the_front(proposer: Proposer) -> None:
    own = observed(proposer, 1000)
    process = proposer.model(own, Observations())
    best = own.values.argmax()

    assert len(process.values) == MAX_OBSERVATIONS
    assert own.values[best] in process.values


def test_other_studies_inform_the_model_but_are_on_no_front(proposer: Proposer) -> None:
    elsewhere = observed(proposer, 30)
    own = Observations(np.array([0]), np.array([0.3]), np.zeros(1))
    free = np.setdiff1d(np.arange(len(proposer.sizes)), own.rows)
    row = proposer.propose(free, own, NONE, elsewhere, np.random.default_rng(0))
    mean, _ = proposer.model(own, elsewhere).predict(proposer.features[[row]])

    assert mean[0] > 0.45, "what they know to be good is trained here first"


@pytest.mark.parametrize("name", ["smoke", "cgnet", "cgnet_wide"])
def test_different_architectures_are_different_points_of_the_unit_cube(name: str) -> None:
    points = encode(load_space(name).pool(11))

    assert points.min() == 0
    assert points.max() == 1
    assert len({point.tobytes() for point in points.round(6)}) == len(points)
