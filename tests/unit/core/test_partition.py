"""Who trains on which sample when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.partition import evaluation_share, training_batches

WORLD_SIZES = range(1, 9)
SEEDS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 10_000)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, int]:
    world_size = draw(st.integers(1, 8))
    batch_size = draw(st.integers(world_size, 6 * world_size))
    return {
        "num_samples": draw(st.integers(batch_size, 300)),
        "batch_size": batch_size,
        "seed": draw(SEEDS),
        "epoch": draw(EPOCHS),
        "world_size": world_size,
    }


def all_ranks(plan: dict[str, int]) -> list[NDArray[np.int64]]:
    return [training_batches(**plan, rank=rank) for rank in range(plan["world_size"])]


@given(plans())
def test_every_rank_has_the_same_steps_and_its_even_share_of_each(plan: dict[str, int]) -> None:
    steps = plan["num_samples"] // plan["batch_size"]
    least, more = divmod(plan["batch_size"], plan["world_size"])
    expected = [(steps, least + (rank < more)) for rank in range(plan["world_size"])]

    assert least >= 1
    assert [share.shape for share in all_ranks(plan)] == expected


@given(plans())
def test_no_sample_is_seen_twice_in_an_epoch(plan: dict[str, int]) -> None:
    seen = np.concatenate([share.ravel() for share in all_ranks(plan)])

    assert len(np.unique(seen)) == len(seen)
    assert set(seen.tolist()) <= set(range(plan["num_samples"]))


@given(plans())
def test_less_than_a_batch_sits_out_an_epoch(plan: dict[str, int]) -> None:
    seen = sum(share.size for share in all_ranks(plan))

    assert 0 <= plan["num_samples"] - seen < plan["batch_size"]


@pytest.mark.parametrize("batch_size", [840, 841, 97, 8])  # 841 and 97 divide among none
@given(SEEDS, EPOCHS)
def test_a_global_batch_holds_the_same_samples_for_any_world_size(
    batch_size: int, seed: int, epoch: int
) -> None:
    plan = {"num_samples": 2000, "batch_size": batch_size, "seed": seed, "epoch": epoch}
    alone = np.sort(training_batches(**plan), axis=1)

    for world_size in WORLD_SIZES:
        together = np.concatenate(all_ranks(plan | {"world_size": world_size}), axis=1)
        np.testing.assert_array_equal(np.sort(together, axis=1), alone)


@given(plans())
def test_a_plan_is_a_function_of_its_arguments(plan: dict[str, int]) -> None:
    for one, other in zip(all_ranks(plan), all_ranks(plan), strict=True):
        np.testing.assert_array_equal(one, other)


@given(SEEDS, EPOCHS)
def test_the_next_epoch_has_another_order(seed: int, epoch: int) -> None:
    now, then = (
        training_batches(100, batch_size=10, seed=seed, epoch=e) for e in (epoch, epoch + 1)
    )

    assert now.tolist() != then.tolist()


@given(SEEDS, EPOCHS)
def test_another_seed_gives_another_order(seed: int, epoch: int) -> None:
    one, other = (
        training_batches(100, batch_size=10, seed=s, epoch=epoch) for s in (seed, seed + 1)
    )

    assert one.tolist() != other.tolist()


def test_seed_and_epoch_are_not_added_up() -> None:
    """Or the second epoch of a training would be the first of the next seed's."""
    one = training_batches(100, batch_size=10, seed=7, epoch=1)
    other = training_batches(100, batch_size=10, seed=8, epoch=0)

    assert one.tolist() != other.tolist()


def test_samples_are_shuffled() -> None:
    order = training_batches(100, batch_size=10, seed=0, epoch=0).ravel()

    assert order.tolist() != sorted(order.tolist())


def test_every_sample_gets_its_turn_over_the_epochs() -> None:
    seen = {
        index
        for epoch in range(20)
        for index in training_batches(13, batch_size=8, seed=1, epoch=epoch).ravel().tolist()
    }

    assert seen == set(range(13))


def test_a_batch_that_does_not_divide_gives_the_first_ranks_a_sample_more() -> None:
    plan = {"num_samples": 100, "batch_size": 8, "seed": 0, "epoch": 0, "world_size": 3}

    assert [share.shape for share in all_ranks(plan)] == [(12, 3), (12, 3), (12, 2)]


@pytest.mark.parametrize(("batch_size", "world_size"), [(7, 8), (1, 2)])
def test_a_batch_without_a_sample_for_each_rank_is_refused(
    batch_size: int, world_size: int
) -> None:
    with pytest.raises(UsageError, match=f"batch of {batch_size} .* at least {world_size}"):
        training_batches(100, batch_size=batch_size, seed=0, epoch=0, world_size=world_size)


def test_a_batch_of_one_sample_for_each_rank_is_taken() -> None:
    plan = {"num_samples": 9, "batch_size": 8, "seed": 0, "epoch": 0, "world_size": 8}

    assert [share.shape for share in all_ranks(plan)] == [(1, 1)] * 8


def test_a_split_of_less_than_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match=r"7 samples.*batch of 8"):
        training_batches(7, batch_size=8, seed=0, epoch=0)


def test_a_split_of_exactly_a_batch_is_one_step() -> None:
    assert training_batches(8, batch_size=8, seed=0, epoch=0).shape == (1, 8)


@given(st.integers(0, 200), st.integers(1, 8))
def test_evaluation_meets_each_sample_on_exactly_one_rank(
    num_samples: int, world_size: int
) -> None:
    shares = [
        evaluation_share(num_samples, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]

    assert sorted(index for share in shares for index in share) == list(range(num_samples))


@given(st.integers(0, 200), st.integers(1, 8))
def test_evaluation_is_shared_evenly(num_samples: int, world_size: int) -> None:
    lengths = [
        len(evaluation_share(num_samples, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]

    assert max(lengths) - min(lengths) <= 1
