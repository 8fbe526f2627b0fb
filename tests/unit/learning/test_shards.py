"""Ranges of shards, and shards fetched whole."""

import weakref
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import CorruptSample, ServiceUnavailable
from pipeline.learning.shards import WHOLE_SHARD_BYTES, FolderShards, MemoryShards
from pipeline.learning.split import Split
from tests.unit.learning.stores import CountedShards, at_once, numbered_split, random_shards

NUM_BYTES = 1000
SHARDS = random_shards(4, NUM_BYTES)
FIRST, *_ = SHARDS


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, int, int]:
    start = draw(st.integers(0, NUM_BYTES))
    return draw(st.sampled_from(list(SHARDS))), start, draw(st.integers(0, NUM_BYTES - start))


@pytest.fixture
def on_disk(tmp_path: Path) -> FolderShards:
    for shard, content in SHARDS.items():
        (tmp_path / shard).parent.mkdir(exist_ok=True)
        (tmp_path / shard).write_bytes(content)
    return FolderShards(str(tmp_path))


@pytest.mark.parametrize(("start", "length"), [(0, NUM_BYTES), (0, 1), (999, 1), (300, 400)])
def test_a_range_of_a_folders_shard_is_exactly_that(
    on_disk: FolderShards, start: int, length: int
) -> None:
    for shard, content in SHARDS.items():
        assert on_disk.read(shard, start, length) == content[start : start + length]


@pytest.mark.parametrize(("start", "length"), [(0, NUM_BYTES + 1), (999, 2), (2000, 5)])
def test_a_range_beyond_the_end_is_refused_by_name(
    on_disk: FolderShards, start: int, length: int
) -> None:
    with pytest.raises(CorruptSample, match=rf"{FIRST} in .* wanted {start + length}"):
        on_disk.read(FIRST, start, length)


def test_a_missing_shard_is_refused_by_name(on_disk: FolderShards, tmp_path: Path) -> None:
    with pytest.raises(CorruptSample, match=rf"gen/none\.tar is missing in {tmp_path}"):
        on_disk.read("gen/none.tar", 0, 1)


@settings(deadline=None)
@given(st.lists(ranges(), max_size=20))
def test_memory_gives_the_bytes_of_its_source(wanted: list[tuple[str, int, int]]) -> None:
    source = CountedShards(SHARDS)
    memory = MemoryShards(source, source.sizes)

    for shard, start, length in wanted:
        assert memory.read(shard, start, length) == SHARDS[shard][start : start + length]
    assert len(source.reads) == len({shard for shard, _, _ in wanted})


def test_eight_threads_fetch_each_shard_once_and_as_a_whole() -> None:
    source = CountedShards(SHARDS, delay_s=0.01)
    memory = MemoryShards(source, source.sizes)
    wanted = [(shard, 10 * n, 100) for n in range(8) for shard in SHARDS]

    for turn in range(4):  # each thread starts at another shard, and then at the same ones
        calls = [partial(memory.read, *wanted[(8 * turn + n) % len(wanted)]) for n in range(8)]
        for n, got in enumerate(at_once(calls)):
            shard, start, length = wanted[(8 * turn + n) % len(wanted)]
            assert got == SHARDS[shard][start : start + length]
    assert sorted(source.whole_reads) == sorted(SHARDS)
    assert len(source.reads) == len(SHARDS)


def test_a_fetch_that_failed_is_tried_again() -> None:
    source = CountedShards(SHARDS, failure=ServiceUnavailable("not now"))
    memory = MemoryShards(source, source.sizes)
    with pytest.raises(ServiceUnavailable):
        memory.read(FIRST, 0, 10)

    source.failure = None
    assert memory.read(FIRST, 0, 10) == SHARDS[FIRST][:10]


def test_of_a_shard_that_is_too_short_what_there_is_can_be_read() -> None:
    source = CountedShards(SHARDS)
    memory = MemoryShards(source, {FIRST: NUM_BYTES + 50})

    assert memory.read(FIRST, 900, 100) == SHARDS[FIRST][900:]
    with pytest.raises(CorruptSample, match=FIRST):
        memory.read(FIRST, 1000, 50)
    assert [length for _, _, length in source.reads].count(NUM_BYTES + 50) == 1


@pytest.mark.parametrize("claim", [WHOLE_SHARD_BYTES + 1, 1 << 60])
def test_a_shard_that_says_to_be_huge_is_read_by_ranges(claim: int) -> None:
    source = CountedShards(SHARDS)

    assert MemoryShards(source, {FIRST: claim}).read(FIRST, 5, 10) == SHARDS[FIRST][5:15]
    assert source.reads == [(FIRST, 5, 10)]


def test_shards_are_let_go_when_every_sample_is_decoded() -> None:
    records, content = numbered_split(40)
    source = CountedShards(content)
    memory = MemoryShards(source, source.sizes)
    watched = weakref.ref(memory)
    split = Split(records, memory, keep=True)
    del memory

    for index in range(39):
        split[index]
    assert watched() is not None
    split[39]
    assert watched() is None
    assert split[0] is split[0]


def test_threads_that_read_the_last_samples_together_all_get_them() -> None:
    """One of them lets go of the shards while others are about to read."""
    records, content = numbered_split(8)
    for _ in range(20):
        source = CountedShards(content)
        split = Split(records, MemoryShards(source, source.sizes), keep=True)
        order = [partial(split.__getitem__, index) for index in (*range(8), *range(8))]

        samples = at_once(order)
        assert [int(sample[0][0, 0, 1]) for sample in samples] == [*range(8), *range(8)]


def test_a_split_that_keeps_nothing_keeps_its_shards() -> None:
    records, content = numbered_split(8)
    source = CountedShards(content)
    split = Split(records, source)
    for _ in range(2):
        for index in range(8):
            split[index]

    assert len(source.reads) == 16
