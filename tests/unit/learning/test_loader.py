"""Batches: the same for any number of ranks and threads, and no thread that outlives them."""

import gc
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import CorruptSample, DataError, ServiceUnavailable, UsageError
from pipeline.core.partition import training_batches
from pipeline.learning.decoding import Sample
from pipeline.learning.loader import Batch, TrainLoader, ahead, evaluation_batches
from pipeline.learning.records import Records, records_table
from pipeline.learning.shards import MemoryShards
from pipeline.learning.split import Split
from tests.unit.learning.stores import (
    SIZE,
    CountedShards,
    damaged,
    numbered_sample,
    numbered_split,
)

MOST = 48
RECORDS, SHARDS = numbered_split(MOST)
IMAGES = np.stack([numbered_sample(index).image_HWC for index in range(MOST)])
THREADS = st.integers(0, 4)
WORLD_SIZES = st.integers(1, 8)
both_ways = pytest.mark.parametrize("num_threads", [1, 4])

quick = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Plan:
    """How a split is trained on."""

    num_samples: int
    batch_size: int
    world_size: int = 1
    num_threads: int = 0
    seed: int = 0
    epoch: int = 0

    def batches(self, split: Split, rank: int = 0, first_step: int = 0) -> Iterator[Batch]:
        return self.loader(split, rank).epoch(self.epoch, first_step)

    def loader(self, split: Split, rank: int = 0) -> TrainLoader:
        return TrainLoader(
            split,
            batch_size=self.batch_size,
            seed=self.seed,
            view=self.view,
            rank=rank,
            world_size=self.world_size,
            num_threads=self.num_threads,
        )

    def mixing(self, split: Split, rank: int) -> Iterator[Batch]:
        """Yield batches whose labels are the number of the sample that was met."""

        def meet(sample: Sample, other: Sample, draw: np.random.Generator) -> Sample:
            return Sample(sample.image_HWC, np.full(SIZE, other.image_HWC[0, 0, 1]))

        return TrainLoader(
            split,
            batch_size=self.batch_size,
            seed=self.seed,
            mix=meet,
            rank=rank,
            world_size=self.world_size,
            num_threads=self.num_threads,
        ).epoch(self.epoch)

    @staticmethod
    def view(sample: Sample, draw: np.random.Generator) -> Sample:
        """Leave the picture and take the draw as its label."""
        return Sample(sample.image_HWC, draw.integers(0, 256, SIZE, dtype=np.uint8))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    world_size = draw(WORLD_SIZES)
    batch_size = draw(st.integers(world_size, 20))
    return Plan(
        num_samples=draw(st.integers(batch_size, MOST)),
        batch_size=batch_size,
        world_size=world_size,
        num_threads=draw(THREADS),
        seed=draw(st.integers(0, 2**32)),
        epoch=draw(st.integers(0, 1000)),
    )


@cache
def sound(num_samples: int) -> Split:
    """Return a split that is decoded once for all examples."""
    return Split(RECORDS[:num_samples], CountedShards(SHARDS), keep=True)


def harmed(num_samples: int, corrupt: set[int], skip: bool = True) -> Split:
    shards = damaged(SHARDS, (RECORDS[index] for index in corrupt))
    return Split(RECORDS[:num_samples], CountedShards(shards), skip_corrupt=skip)


def indices(batch: Batch) -> list[int]:
    """Return which samples a batch holds; each must be whole."""
    images_BHWC = batch.image_BCHW.permute(0, 2, 3, 1).numpy()
    found = images_BHWC[:, 0, 0, 1].tolist()
    assert np.array_equal(images_BHWC, IMAGES[found])
    return found


def views(batches: list[Batch]) -> dict[int, list[int]]:
    return {
        index: view_HW.ravel().tolist()
        for batch in batches
        for index, view_HW in zip(indices(batch), batch.label_BHW.numpy(), strict=True)
    }


def close(batches: Iterator[Batch]) -> None:
    assert isinstance(batches, Generator)
    batches.close()


@pytest.fixture(autouse=True)
def nothing_left_by_other_tests() -> None:
    """Whatever a test elsewhere let go of in a circle has its threads until it is collected."""
    gc.collect()


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]


def same(ones: list[Batch], others: list[Batch]) -> bool:
    return len(ones) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(ones, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


# Training


@quick
@given(plans())
def test_ranks_share_each_global_batch_without_rest_or_double(plan: Plan) -> None:
    split = sound(plan.num_samples)
    ranks = [
        [indices(batch) for batch in plan.batches(split, rank)] for rank in range(plan.world_size)
    ]

    alone = training_batches(
        plan.num_samples, batch_size=plan.batch_size, seed=plan.seed, epoch=plan.epoch
    )
    # Strict: every rank has the same number of steps.
    together = [sorted(chain(*shares)) for shares in zip(*ranks, strict=True)]
    assert together == np.sort(alone, axis=1).tolist()
    assert all(len(shares) for rank in ranks for shares in rank)


@quick
@given(plans(), WORLD_SIZES)
def test_a_global_batch_is_the_same_whatever_the_world_size(plan: Plan, world_size: int) -> None:
    other = replace(plan, world_size=min(world_size, plan.batch_size))
    split = sound(plan.num_samples)

    steps, other_steps = (
        [
            set().union(*(indices(share) for share in shares))
            for shares in zip(*(p.batches(split, r) for r in range(p.world_size)), strict=True)
        ]
        for p in (plan, other)
    )
    assert steps == other_steps


@quick
@given(plans(), THREADS)
def test_any_number_of_threads_gives_the_same_batches_in_the_same_order(
    plan: Plan, num_threads: int
) -> None:
    split = sound(plan.num_samples)
    rank = plan.world_size - 1
    other = replace(plan, num_threads=num_threads)

    assert same(list(plan.batches(split, rank)), list(other.batches(split, rank)))


@quick
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), THREADS)
def test_a_sample_meets_the_same_other_on_any_number_of_ranks_with_an_even_share(
    pairs: int, steps: int, doublings: int, num_threads: int
) -> None:
    batch_size = 2 * pairs * 2**doublings

    def met(world_size: int) -> dict[int, list[int]]:
        plan = Plan(min(MOST, steps * batch_size), batch_size, world_size, num_threads)
        shares = (plan.mixing(sound(plan.num_samples), rank) for rank in range(world_size))
        return views(list(chain(*shares)))

    alone = met(1)
    assert met(2**doublings) == alone
    assert all(others[0] != index for index, others in alone.items())


@quick
@given(plans(), st.data())
def test_an_epoch_from_a_step_on_is_the_tail_of_the_whole(plan: Plan, data: st.DataObject) -> None:
    split = sound(plan.num_samples)
    whole = list(plan.batches(split))
    step = data.draw(st.integers(0, len(whole)))

    assert same(list(plan.batches(split, first_step=step)), whole[step:])


@quick
@given(plans(), plans())
def test_a_view_follows_from_seed_epoch_and_sample_alone(one: Plan, other: Plan) -> None:
    other = replace(other, seed=one.seed, epoch=one.epoch)
    here, there = (views(list(p.batches(sound(p.num_samples)))) for p in (one, other))

    for index, view in here.items():
        draw = np.random.default_rng((one.seed, one.epoch, index))
        assert view == draw.integers(0, 256, SIZE, dtype=np.uint8).ravel().tolist()
        assert there.get(index, view) == view


def test_another_seed_epoch_or_sample_is_another_view() -> None:
    plan = Plan(num_samples=MOST, batch_size=MOST)
    split = sound(MOST)
    drawn = [
        views(list(p.batches(split)))[index]
        for p in (plan, replace(plan, seed=1), replace(plan, epoch=1))
        for index in range(MOST)
    ]

    assert len({tuple(view) for view in drawn}) == 3 * MOST


def test_without_a_view_a_sample_is_taken_as_it_is() -> None:
    split = sound(5)
    for batch in TrainLoader(split, batch_size=2, seed=0).epoch(0):
        for index, label_HW in zip(indices(batch), batch.label_BHW, strict=True):
            np.testing.assert_array_equal(label_HW, numbered_sample(index).label_HW)


def test_a_batch_is_bytes_in_channels_last_order() -> None:
    image, label = next(Plan(num_samples=5, batch_size=4).batches(sound(5)))

    assert (image.shape, image.dtype) == ((4, 3, *SIZE), torch.uint8)
    assert (label.shape, label.dtype) == ((4, *SIZE), torch.uint8)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_a_plan_that_cannot_be_is_refused_when_the_epoch_is_asked_for() -> None:
    with pytest.raises(UsageError, match="batch of 2 leaves some of 3 workers"):
        Plan(num_samples=9, batch_size=2, world_size=3).batches(sound(9))


# Validation


@quick
@given(st.integers(1, MOST), st.integers(1, 9), WORLD_SIZES, THREADS)
def test_validation_meets_every_sample_once_and_each_rank_in_order(
    num_samples: int, batch_size: int, world_size: int, num_threads: int
) -> None:
    split = sound(num_samples)
    ranks = [
        [
            indices(batch)
            for batch in evaluation_batches(
                split, batch_size, rank=rank, world_size=world_size, num_threads=num_threads
            )
        ]
        for rank in range(world_size)
    ]

    met = [list(chain(*batches)) for batches in ranks]
    assert sorted(chain(*met)) == list(range(num_samples))
    assert met == [sorted(share) for share in met]
    assert all(1 <= len(batch) <= batch_size for batches in ranks for batch in batches)


@both_ways
def test_a_sample_that_lies_nowhere_is_skipped_wherever_it_is_in_its_batch(
    num_threads: int,
) -> None:
    nowhere = Records(
        records_table(
            record._replace(label_offset=-4) if index in (0, 5) else record
            for index, record in enumerate(RECORDS[:8])
        )
    )
    source = CountedShards(SHARDS)
    options = {"batch_size": 4, "num_threads": num_threads}

    split = Split(nowhere, source, skip_corrupt=True)
    seen = [indices(batch) for batch in evaluation_batches(split, **options)]
    assert seen == [[1, 2, 3], [4, 6, 7]]
    split = Split(nowhere, source, skip_corrupt=True)
    trained = chain(*map(indices, TrainLoader(split, seed=0, **options).epoch(0)))
    assert sorted(trained) == [1, 1, 2, 3, 4, 6, 6, 7]


# Threads


@both_ways
def test_batches_are_made_before_they_are_asked_for(num_threads: int) -> None:
    source = CountedShards(SHARDS)
    split = Split(RECORDS, source)
    batches = Plan(MOST, batch_size=2, num_threads=num_threads).batches(split)
    next(batches)
    expected = 2 * (1 + 2 * num_threads)  # samples of the one taken, and two for each thread

    deadline = time.monotonic() + 10
    while len(source.reads) < expected and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)  # time enough to run further ahead
    assert len(source.reads) == expected
    close(batches)


def test_without_threads_a_batch_is_made_when_it_is_asked_for() -> None:
    source = CountedShards(SHARDS)
    split = Split(RECORDS, source)
    batches = Plan(MOST, batch_size=2).batches(split)

    for step in range(3):
        assert len(source.reads) == 2 * step
        next(batches)


@both_ways
@pytest.mark.parametrize("kind", ["train", "validation"])
def test_closing_early_ends_the_threads(kind: str, num_threads: int) -> None:
    split = sound(MOST)
    batches = {
        "train": Plan(MOST, batch_size=2, num_threads=num_threads).batches(split),
        "validation": evaluation_batches(split, 2, num_threads=num_threads),
    }[kind]
    next(batches)
    assert loader_threads()

    close(batches)
    assert loader_threads() == []


@both_ways
def test_letting_go_of_an_epoch_ends_the_threads(num_threads: int) -> None:
    batches = Plan(MOST, batch_size=2, num_threads=num_threads).batches(sound(MOST))
    next(batches)
    assert loader_threads()

    del batches
    assert loader_threads() == []


@both_ways
def test_an_epoch_that_is_over_leaves_no_thread(num_threads: int) -> None:
    batches = Plan(MOST, batch_size=2, num_threads=num_threads).batches(sound(MOST))
    assert len(list(batches)) == MOST // 2

    assert loader_threads() == []


@both_ways
def test_an_error_in_a_thread_reaches_whoever_asks_and_ends_the_threads(num_threads: int) -> None:
    failure = ServiceUnavailable("S3 is on holiday")
    split = Split(RECORDS, CountedShards(SHARDS, failure=failure))

    for batches in (
        Plan(MOST, batch_size=2, num_threads=num_threads).batches(split),
        evaluation_batches(split, 2, num_threads=num_threads),
    ):
        with pytest.raises(ServiceUnavailable) as caught:
            next(batches)
        assert caught.value is failure
        assert loader_threads() == []


@given(st.integers(0, 12), st.integers(0, 12), THREADS)
@quick
def test_an_error_comes_in_the_place_of_its_own_item(
    num_items: int, bad: int, num_threads: int
) -> None:
    """Threads that are ahead meet it earlier, but what is before it is whole."""

    def function(item: int) -> int:
        if item == bad:
            raise ValueError(item)
        return 2 * item

    results = ahead(function, range(num_items), num_threads)
    whole = min(bad, num_items)
    assert list(islice(results, whole)) == [2 * item for item in range(whole)]
    with pytest.raises(ValueError if bad < num_items else StopIteration):
        next(results)
    assert loader_threads() == []


# Corrupt samples


@pytest.mark.parametrize("num_threads", [0, 3])
def test_a_corrupt_sample_is_raised_with_its_shard_and_its_name(num_threads: int) -> None:
    split = harmed(20, {17}, skip=False)
    plan = Plan(20, batch_size=4, num_threads=num_threads)

    for batches in (plan.batches(split), evaluation_batches(split, 4, num_threads=num_threads)):
        with pytest.raises(CorruptSample, match=r"sample 017 in gen/train-000001\.tar is damaged"):
            list(batches)
    assert split.corrupt == ()


@st.composite
def harmed_plans(draw: st.DrawFn) -> tuple[Plan, set[int]]:
    """Return a plan with at least one sound sample."""
    plan = draw(plans())
    most = plan.num_samples - 1
    return plan, draw(st.sets(st.integers(0, most), max_size=most))


@quick
@given(harmed_plans())
def test_a_skipped_sample_is_replaced_by_the_next_sound_one_on_its_own_rank(
    example: tuple[Plan, set[int]],
) -> None:
    plan, corrupt = example

    def replacement(index: int) -> int:
        while index in corrupt:
            index = (index + 1) % plan.num_samples
        return index

    for rank in range(plan.world_size):
        planned = training_batches(
            plan.num_samples,
            batch_size=plan.batch_size,
            seed=plan.seed,
            epoch=plan.epoch,
            rank=rank,
            world_size=plan.world_size,
        )
        split = harmed(plan.num_samples, corrupt)
        got = [indices(batch) for batch in plan.batches(split, rank)]
        assert got == [[replacement(index) for index in step] for step in planned.tolist()]
        assert same_names(split.corrupt, met_of(planned.ravel().tolist(), corrupt, plan))


def met_of(planned: list[int], corrupt: set[int], plan: Plan) -> set[int]:
    """Return the corrupt samples that a rank meets: its own, and those before a replacement."""
    met = set()
    for start in planned:
        index = start
        while index in corrupt:
            met.add(index)
            index = (index + 1) % plan.num_samples
    return met


def same_names(messages: tuple[str, ...], corrupt: set[int]) -> bool:
    """Return whether these are the messages of these samples, each once, in stored order."""
    return len(messages) == len(corrupt) and all(
        f"sample {RECORDS[index].key} in {RECORDS[index].shard} is damaged" in message
        for message, index in zip(messages, sorted(corrupt), strict=True)
    )


@quick
@given(harmed_plans())
def test_validation_leaves_a_skipped_sample_out_and_names_it_once(
    example: tuple[Plan, set[int]],
) -> None:
    plan, corrupt = example
    split = harmed(plan.num_samples, corrupt)

    for _ in range(2):
        met = [
            index
            for rank in range(plan.world_size)
            for batch in evaluation_batches(
                split,
                plan.batch_size,
                rank=rank,
                world_size=plan.world_size,
                num_threads=plan.num_threads,
            )
            for index in indices(batch)
        ]
        assert sorted(met) == sorted(set(range(plan.num_samples)) - corrupt)
        assert same_names(split.corrupt, corrupt)


def test_a_skipped_sample_is_not_read_again() -> None:
    source = CountedShards(damaged(SHARDS, [RECORDS[3]]))
    split = Split(RECORDS[:8], source, skip_corrupt=True)
    plan = Plan(8, batch_size=8)
    list(plan.batches(split))
    before = len(source.reads)

    list(plan.batches(split))
    assert before == 8 + 1  # the sample in its place was read once more
    assert len(source.reads) - before == 8


@pytest.mark.parametrize("num_threads", [0, 3])
def test_a_wholly_corrupt_split_cannot_be_trained_on(num_threads: int) -> None:
    split = harmed(8, set(range(8)))

    with pytest.raises(DataError, match=r"every sample is corrupt, such as: sample 00\d in gen/"):
        next(Plan(8, batch_size=4, num_threads=num_threads).batches(split))
    assert loader_threads() == []


def test_shards_are_fetched_once_in_the_order_they_are_needed() -> None:
    source = CountedShards(SHARDS)
    split = Split(RECORDS, source, cache=MemoryShards(source, source.sizes))
    needed = np.concatenate(training_batches(MOST, batch_size=4, seed=0, epoch=0))
    for _ in range(2):
        split.fetch(split.missing(needed), lambda: False)

    assert source.whole_reads == list(dict.fromkeys(RECORDS[int(i)].shard for i in needed))


def test_a_sample_of_a_shard_that_is_on_its_way_is_read_by_itself() -> None:
    begun, arrived = threading.Event(), threading.Event()

    class SlowToFetch(CountedShards):
        def read(self, shard: str, start: int, length: int) -> bytes:
            content = super().read(shard, start, length)
            if length == len(SHARDS[shard]):
                begun.set()
                assert arrived.wait(10)
            return content

    source = SlowToFetch(SHARDS)
    split = Split(RECORDS, source, cache=MemoryShards(source, source.sizes))
    missing = split.missing(np.arange(MOST))
    fetcher = threading.Thread(target=split.fetch, args=(missing, lambda: False))
    fetcher.start()
    assert begun.wait(10)
    sample = split[0]
    arrived.set()
    fetcher.join()

    assert np.array_equal(sample.image_HWC, IMAGES[0])
    assert source.whole_reads == sorted(SHARDS)
    assert len(source.reads) == len(SHARDS) + 1
    assert np.array_equal(split[MOST - 1].image_HWC, IMAGES[MOST - 1])
    assert len(source.reads) == len(SHARDS) + 1  # now from the cache


def test_a_fetch_that_fails_leaves_the_error_to_the_batch_that_needs_it() -> None:
    source = CountedShards(SHARDS, failure=ServiceUnavailable("no answer"))
    split = Split(RECORDS, source, cache=MemoryShards(source, source.sizes))
    split.fetch(split.missing(np.arange(MOST)), lambda: False)

    with pytest.raises(ServiceUnavailable, match="no answer"):
        next(Plan(num_samples=MOST, batch_size=4, num_threads=2).batches(split))
    assert not loader_threads()


def test_fetching_stops_when_the_epoch_is_over() -> None:
    source = CountedShards(SHARDS)
    split = Split(RECORDS, source, cache=MemoryShards(source, source.sizes))
    split.fetch(split.missing(np.arange(MOST)), lambda: len(source.reads) == 2)

    assert len(source.whole_reads) == 2
