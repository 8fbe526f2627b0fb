"""Copies of shards on disk: within a bound, shared, and never a reason for a training to fail."""

import os
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import CorruptSample, ServiceUnavailable
from pipeline.learning import disk_cache as disk_cache_module
from pipeline.learning.disk_cache import DiskShards, default_cache_dir
from tests.disk import READ_ONLY, REMOUNT, Mount
from tests.unit.learning.stores import CountedShards, at_once, random_shards

NUM_BYTES = 1000
SHARDS = random_shards(6, NUM_BYTES)
NAMES = list(SHARDS)
FIRST = NAMES[0]
AMPLE = 1 << 20


@pytest.fixture
def source() -> CountedShards:
    return CountedShards(SHARDS)


def cache_of(
    source: CountedShards, root: Path, name: str = "own", limit: int | None = AMPLE
) -> DiskShards:
    return DiskShards(source, source.sizes, root, name, limit)


def held(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def read_all(cache: DiskShards, shards: dict[str, bytes] = SHARDS) -> None:
    """Read every shard in pieces; each piece must be right."""
    for shard, content in shards.items():
        for start in range(0, len(content), 400):
            length = min(400, len(content) - start)
            assert bytes(cache.read(shard, start, length)) == content[start : start + length]


def test_a_shard_is_fetched_once_as_a_whole_and_stays(
    source: CountedShards, tmp_path: Path
) -> None:
    for _ in range(2):
        read_all(cache_of(source, tmp_path))

    assert source.whole_reads == NAMES
    assert len(source.reads) == len(NAMES)
    for shard, content in SHARDS.items():
        assert (tmp_path / "own" / shard).read_bytes() == content


def test_eight_threads_fetch_each_shard_once(tmp_path: Path) -> None:
    source = CountedShards(SHARDS, delay_s=0.01)
    cache = cache_of(source, tmp_path)

    for shard in NAMES:
        calls = [partial(cache.read, shard, 100 * n, 100) for n in range(8)]
        for n, content in enumerate(at_once(calls)):
            assert content == SHARDS[shard][100 * n : 100 * n + 100]
    assert source.whole_reads == NAMES
    assert len(source.reads) == len(NAMES)


def test_instances_that_share_a_cache_do_not_disturb_each_other(tmp_path: Path) -> None:
    """As do the ranks of a training on one machine."""
    sources = [CountedShards(SHARDS, delay_s=0.005) for _ in range(4)]
    caches = [cache_of(source, tmp_path) for source in sources]

    at_once([partial(read_all, cache) for cache in caches * 2])

    assert all(len(source.whole_reads) == len(source.reads) for source in sources)
    files = {str(p.relative_to(tmp_path / "own")) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == set(NAMES)  # and nothing half written
    late = CountedShards(SHARDS)
    read_all(cache_of(late, tmp_path))
    assert late.reads == []


def test_instances_that_write_one_copy_at_once_both_go_on_to_the_next(
    source: CountedShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [cache_of(source, tmp_path) for _ in range(2)]
    barrier, replace = threading.Barrier(2), Path.replace

    def replace_together(path: Path, target: Path) -> Path:
        barrier.wait(timeout=10)  # each has written its own before either shows it
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_together)
        at_once([partial(cache.read, FIRST, 0, 10) for cache in caches])

    for cache, shard in zip(caches, NAMES[1:3], strict=True):
        cache.read(shard, 0, 10)
    assert {path.name for path in (tmp_path / "own" / "gen").iterdir()} == {
        Path(shard).name for shard in NAMES[:3]
    }


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties it
)
@given(limit=st.integers(0, 7 * NUM_BYTES), order=st.permutations(NAMES * 2))
def test_a_limit_is_kept_and_what_does_not_fit_passes_through(
    tmp_path: Path, limit: int, order: list[str]
) -> None:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    source = CountedShards(SHARDS)
    cache = cache_of(source, tmp_path / "cache", limit=limit)

    for shard in order:
        assert bytes(cache.read(shard, 200, 300)) == SHARDS[shard][200:500]
    fitting = min(limit // NUM_BYTES, len(NAMES))
    assert held(tmp_path / "cache") == fitting * NUM_BYTES
    assert len(source.whole_reads) == fitting
    assert len(source.reads) == fitting + 2 * (len(NAMES) - fitting)


def test_threads_that_copy_at_once_keep_the_limit(tmp_path: Path) -> None:
    source = CountedShards(SHARDS, delay_s=0.01)
    cache = cache_of(source, tmp_path, limit=3 * NUM_BYTES + 500)

    got = at_once([partial(cache.read, shard, 0, NUM_BYTES) for shard in NAMES])

    assert [bytes(content) for content in got] == list(SHARDS.values())
    assert held(tmp_path) == 3 * NUM_BYTES


def test_by_default_half_of_what_is_free_may_be_taken(
    source: CountedShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5 * NUM_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    read_all(cache_of(source, tmp_path, limit=None))

    assert held(tmp_path) == 2 * NUM_BYTES


def other_data_set(root: Path, name: str, num_bytes: int, last_used: int) -> None:
    folder = root / name
    (folder / "gen").mkdir(parents=True)
    (folder / "gen" / "x.tar").write_bytes(bytes(num_bytes))
    os.utime(folder, (last_used, last_used))


def test_room_is_made_from_what_was_used_longest_ago_and_no_more_than_is_needed(
    source: CountedShards, tmp_path: Path
) -> None:
    for name, last_used in (("b", 2000), ("a", 3000), ("c", 1000)):
        other_data_set(tmp_path, name, 3 * NUM_BYTES, last_used)
    # Six shards of our own and one of the others are all that fits.
    read_all(cache_of(source, tmp_path, limit=10 * NUM_BYTES))

    assert {path.name for path in tmp_path.iterdir()} == {"a", "own"}
    assert source.whole_reads == NAMES


def test_nothing_is_removed_where_there_is_room(source: CountedShards, tmp_path: Path) -> None:
    other_data_set(tmp_path, "other", 3 * NUM_BYTES, 1000)
    cache_of(source, tmp_path, limit=9 * NUM_BYTES)

    assert (tmp_path / "other" / "gen" / "x.tar").exists()


def test_what_is_here_already_needs_no_room(source: CountedShards, tmp_path: Path) -> None:
    read_all(cache_of(source, tmp_path))
    other_data_set(tmp_path, "other", 3 * NUM_BYTES, 1000)
    cache_of(source, tmp_path, limit=9 * NUM_BYTES)

    assert (tmp_path / "other").exists()


def test_opening_a_data_set_is_using_it(source: CountedShards, tmp_path: Path) -> None:
    other_data_set(tmp_path, "old", 3 * NUM_BYTES, 1000)
    other_data_set(tmp_path, "older", 3 * NUM_BYTES, 500)
    nothing = CountedShards({})
    DiskShards(nothing, {}, tmp_path, "older", AMPLE)
    cache_of(source, tmp_path, limit=9 * NUM_BYTES)

    assert {path.name for path in tmp_path.iterdir()} == {"older", "own"}


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(
    source: CountedShards, tmp_path: Path
) -> None:
    for data_set in ("own", "other"):
        other_data_set(tmp_path, data_set, 1, 1000)
        for name, age_s in (("old", 7200), ("new", 60)):
            path = tmp_path / data_set / "gen" / f"x.tar.{name}.partial"
            path.touch()
            os.utime(path, (time.time() - age_s,) * 2)
    cache_of(source, tmp_path)

    left = {path.name for path in tmp_path.rglob("*.partial")}
    assert left == {"x.tar.new.partial"}


@pytest.mark.parametrize("left", [0, 1, 650])
def test_a_truncated_copy_is_made_up_for_by_the_source(
    source: CountedShards, tmp_path: Path, left: int
) -> None:
    cache = cache_of(source, tmp_path)
    read_all(cache)
    os.truncate(tmp_path / "own" / FIRST, left)

    read_all(cache)
    read_all(cache_of(source, tmp_path))


@pytest.mark.parametrize("what", [FIRST, "gen", "."])
def test_a_copy_that_vanished_is_made_again(
    source: CountedShards, tmp_path: Path, what: str
) -> None:
    cache = cache_of(source, tmp_path)
    read_all(cache)
    path = tmp_path / "own" / what
    path.unlink() if path.is_file() else shutil.rmtree(path)

    read_all(cache)
    assert (tmp_path / "own" / FIRST).read_bytes() == SHARDS[FIRST]


def test_a_copy_that_vanishes_while_it_is_looked_for_is_made_up_for_by_the_source(
    source: CountedShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(source, tmp_path)
    read_all(cache)
    # Another process makes room after this one saw the file, and before it opens it.
    monkeypatch.setattr(Path, "exists", lambda path: path.unlink(missing_ok=True) or True)

    read_all(cache)


def test_something_else_in_a_copys_place_is_no_failure(
    source: CountedShards, tmp_path: Path
) -> None:
    (tmp_path / "own" / FIRST).mkdir(parents=True)

    read_all(cache_of(source, tmp_path))


def test_no_place_for_a_cache_is_no_failure(source: CountedShards, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    read_all(cache_of(source, tmp_path / "file" / "cache"))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_does_not_fail_a_training(mount: Mount) -> None:
    """The limit says that there is room, since others filled the disk after it was set."""
    large = random_shards(3, 500_000)
    source = CountedShards(large)
    disk = mount()
    cache = cache_of(source, disk / "cache", limit=AMPLE << 10)

    for _ in range(2):
        read_all(cache, large)
    assert source.whole_reads == list(large)  # the third did not fit
    copies = sorted(path.name for path in disk.rglob("*") if path.is_file())
    assert copies == [Path(shard).name for shard in list(large)[:2]]  # and left nothing behind


def test_a_disk_that_was_full_before_does_not_fail_a_training(
    source: CountedShards, mount: Mount
) -> None:
    disk = mount()
    (disk / "hog").write_bytes(bytes(shutil.disk_usage(disk).free))

    read_all(cache_of(source, disk / "cache", limit=None))


def test_a_read_only_disk_does_not_fail_a_training(source: CountedShards, mount: Mount) -> None:
    disk = mount(READ_ONLY)
    read_all(cache_of(source, disk / "cache"))
    read_all(cache_of(source, disk))

    assert list(disk.iterdir()) == []


def test_copies_on_a_disk_that_became_read_only_still_serve(
    source: CountedShards, mount: Mount
) -> None:
    disk = mount()
    cache = cache_of(source, disk)
    for shard in NAMES[:3]:
        cache.read(shard, 0, 10)
    mount(REMOUNT | READ_ONLY)

    read_all(cache)
    assert source.whole_reads[:4] == NAMES[:4]  # the fourth showed that nothing can be written
    before = len(source.reads)
    read_all(cache_of(source, disk), {shard: SHARDS[shard] for shard in NAMES[:3]})
    assert len(source.reads) == before


def test_a_source_that_does_not_answer_is_an_error_and_takes_no_room(
    source: CountedShards, tmp_path: Path
) -> None:
    cache = cache_of(source, tmp_path, limit=NUM_BYTES)
    source.failure = ServiceUnavailable("not now")
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            cache.read(FIRST, 0, 10)

    source.failure = None
    assert cache.read(FIRST, 0, 10) == SHARDS[FIRST][:10]
    assert (tmp_path / "own" / FIRST).read_bytes() == SHARDS[FIRST]


def test_of_a_shard_that_is_too_short_what_there_is_can_be_read(
    source: CountedShards, tmp_path: Path
) -> None:
    sizes = source.sizes | {FIRST: NUM_BYTES + 50}
    cache = DiskShards(source, sizes, tmp_path, "own", AMPLE)

    read_all(cache)
    with pytest.raises(CorruptSample, match=FIRST):
        cache.read(FIRST, NUM_BYTES, 50)
    assert source.whole_reads == NAMES[1:]  # the others are copied all the same


def test_a_shard_that_says_to_be_huge_takes_no_room(
    source: CountedShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache_module, "WHOLE_SHARD_BYTES", NUM_BYTES)
    other_data_set(tmp_path, "other", 3 * NUM_BYTES, 1000)
    cache = DiskShards(source, source.sizes | {FIRST: 1 << 60}, tmp_path, "own", 9 * NUM_BYTES)

    read_all(cache)
    assert source.whole_reads == NAMES[1:]
    assert (tmp_path / "other").exists()


def test_copies_are_kept_where_the_user_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == Path("/home/somebody/.cache/cgnet-search")

    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert default_cache_dir() == Path("/scratch/cgnet-search")
