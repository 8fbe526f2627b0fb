"""Which rank trains on what: a matter of arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.core.partition import evaluation_share, training_batches

WORLD_SIZES = range(1, 9)


@st.composite
def epochs(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """Return samples, global batch, world size, seed and epoch that fit together."""
    world_size = draw(st.sampled_from(WORLD_SIZES))
    batch = world_size * draw(st.integers(1, 4))
    num_samples = draw(st.integers(batch, 4 * batch + 7))
    return num_samples, batch, world_size, draw(st.integers(0, 2**32)), draw(st.integers(0, 500))


def all_ranks(case: tuple[int, int, int, int, int]) -> list[np.ndarray]:
    num_samples, batch, world_size, seed, epoch = case
    return [
        training_batches(
            num_samples,
            batch_size=batch,
            seed=seed,
            epoch=epoch,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]


@given(epochs())
def test_every_rank_has_the_same_steps_and_the_same_share(
    case: tuple[int, int, int, int, int],
) -> None:
    num_samples, batch, world_size, _, _ = case

    assert {share.shape for share in all_ranks(case)} == {
        (num_samples // batch, batch // world_size)
    }


@given(epochs())
def test_no_sample_comes_twice_in_an_epoch(case: tuple[int, int, int, int, int]) -> None:
    used = np.concatenate([share.ravel() for share in all_ranks(case)])

    assert len(set(used.tolist())) == len(used)
    assert set(used.tolist()) <= set(range(case[0]))


@given(epochs())
def test_less_than_a_batch_sits_out_an_epoch(case: tuple[int, int, int, int, int]) -> None:
    used = sum(share.size for share in all_ranks(case))

    assert 0 <= case[0] - used < case[1]


@given(epochs())
def test_a_global_batch_holds_the_same_samples_whatever_the_world_size(
    case: tuple[int, int, int, int, int],
) -> None:
    num_samples, batch, _, seed, epoch = case
    alone = training_batches(num_samples, batch_size=batch, seed=seed, epoch=epoch)
    together = np.concatenate(all_ranks(case), axis=1)

    assert np.sort(alone, axis=1).tolist() == np.sort(together, axis=1).tolist()


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 3}])
def test_seed_and_epoch_decide_the_order(change: dict[str, int]) -> None:
    settings = {"batch_size": 10, "seed": 7, "epoch": 2}

    assert not np.array_equal(
        training_batches(100, **settings), training_batches(100, **(settings | change))
    )


def test_the_same_seed_and_epoch_give_the_same_order() -> None:
    one, other = (training_batches(100, batch_size=10, seed=7, epoch=2) for _ in range(2))

    assert np.array_equal(one, other)


def test_seed_and_epoch_are_not_added_up() -> None:
    """Or the second epoch of one training would be the first of the next seed's."""
    one = training_batches(100, batch_size=10, seed=7, epoch=1)
    other = training_batches(100, batch_size=10, seed=8, epoch=0)

    assert not np.array_equal(one, other)


def test_over_epochs_every_sample_takes_part() -> None:
    used = {
        int(i)
        for epoch in range(20)
        for i in training_batches(11, batch_size=8, seed=0, epoch=epoch).ravel()
    }

    assert used == set(range(11))


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch of 8 .* 3 workers.*multiple of 3"):
        training_batches(100, batch_size=8, seed=0, epoch=0, world_size=3)


def test_a_split_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match=r"7 samples.*batch of 8"):
        training_batches(7, batch_size=8, seed=0, epoch=0)


@given(st.integers(0, 50), st.sampled_from(WORLD_SIZES))
def test_evaluation_covers_each_sample_once(num_samples: int, world_size: int) -> None:
    shares = [
        evaluation_share(num_samples, rank=r, world_size=world_size) for r in range(world_size)
    ]

    assert sorted(i for share in shares for i in share) == list(range(num_samples))


@given(st.integers(0, 50), st.sampled_from(WORLD_SIZES))
def test_evaluation_is_shared_evenly(num_samples: int, world_size: int) -> None:
    lengths = [
        len(evaluation_share(num_samples, rank=r, world_size=world_size)) for r in range(world_size)
    ]

    assert max(lengths) - min(lengths) <= 1
