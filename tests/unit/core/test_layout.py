"""Every sample lies in one shard, in order, under names that follow from what was asked for."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.core.layout import (
    Layout,
    evenly_spread,
    generation_name,
    num_shards,
    plan_shards,
)
from pipeline.core.manifest import ClassTable
from pipeline.core.units import ShardSize

CLASSES = ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), ignore_index=255)
COUNTS = st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(0, 200))


def keys_of(counts: dict[str, int]) -> dict[str, list[str]]:
    return {split: [f"{split}{i}" for i in range(count)] for split, count in counts.items()}


@given(counts=COUNTS, size=st.integers(1, 70))
def test_the_shards_hold_every_sample_once_and_in_order(counts: dict[str, int], size: int) -> None:
    keys = keys_of(counts)
    shards = list(plan_shards(keys, size, "gen"))

    for split, wanted in keys.items():
        assert wanted == [key for s in shards if s.split == split for key in s.keys]
    assert len({shard.path for shard in shards}) == len(shards) == num_shards(keys, size)
    assert all(0 < shard.work <= size for shard in shards)


@given(counts=COUNTS, size=st.integers(1, 70))
def test_all_shards_of_a_split_but_its_last_are_full(counts: dict[str, int], size: int) -> None:
    shards = list(plan_shards(keys_of(counts), size, "gen"))

    for shard, following in pairwise(shards):
        if shard.split == following.split:
            assert shard.work == size
            assert shard.path < following.path


def test_a_plan_of_many_shards_is_made_as_it_is_read() -> None:
    first = next(plan_shards({"train": range(10**9)}, 64, "gen"))

    assert (first.path, first.work) == ("gen/train-000000.tar", 64)


@given(total=st.integers(1, 1000), count=st.integers(1, 12))
def test_spread_keys_are_different_ones_from_the_whole_length(total: int, count: int) -> None:
    keys = [str(i) for i in range(total)]
    chosen = [int(key) for key in evenly_spread(keys, count)]

    assert len(set(chosen)) == min(total, count)
    gaps = [b - a for a, b in zip(chosen, [*chosen[1:], total], strict=True)]
    assert max(gaps) - min(gaps) <= 1


def test_a_generation_is_named_by_all_that_the_shards_depend_on() -> None:
    other_classes = ClassTable(("dark", "light"), ((0, 0, 0), (9, 9, 9)), ignore_index=255)
    names = [
        generation_name("a", CLASSES, Layout()),
        generation_name("b", CLASSES, Layout()),
        generation_name("a", other_classes, Layout()),
        generation_name("a", CLASSES, Layout(image_size=(8, 16))),
        generation_name("a", CLASSES, Layout(encoding="jpeg")),
        generation_name("a", CLASSES, Layout(encoding="jpeg", quality=80)),
        generation_name("a", CLASSES, Layout(encoding="webp")),
        generation_name("a", CLASSES, Layout(shard_size=ShardSize(64, "bytes"))),
    ]

    assert len(set(names)) == len(names)
    assert names[0] == generation_name("a", CLASSES, Layout())
    assert generation_name("a", CLASSES, Layout(encoding="jpeg", quality=90)) == names[4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"quality": 90}, "png is lossless and has no quality"),
        ({"encoding": "jpeg", "quality": 0}, "within 1..100, got 0"),
        ({"encoding": "webp", "quality": 101}, "within 1..100, got 101"),
    ],
)
def test_a_quality_that_means_nothing_is_refused(words: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Layout(**words)
