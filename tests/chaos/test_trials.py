"""What may end a trial: a loss that is no number, no memory, a corrupt shard, a full disk."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
from pyarrow.fs import FileSelector

from pipeline.core.manifest import DATASET_FILE
from pipeline.learning.folder import Folder, read_bytes, write_bytes
from pipeline.runtime.broker import MAX_ATTEMPTS
from pipeline.runtime.records import State
from pipeline.runtime.storage import open_folder
from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import TRAIN_WORKER, Site, wait_until
from tests.disk import Mount, fill


def _copy(source: Folder, target: Folder) -> None:
    for one in source.get_file_info(FileSelector("", recursive=True)):
        if one.is_file:
            write_bytes(target, one.path, read_bytes(source, one.path))


@pytest.fixture
def own_data(site: Site) -> Iterator[tuple[str, Folder]]:
    """A copy of the data set that a test may break."""
    with patch.dict(os.environ, site.environment):
        uri = f"s3://cgnet/datasets/own-{time.time_ns()}"
        folder = open_folder(uri)
        _copy(open_folder(site.dataset_uri), folder)
        yield uri, folder


def test_a_loss_that_is_no_number_fails_its_trial(
    site: Site, table: list[Row], own_data: tuple[str, Folder]
) -> None:
    uri, folder = own_data
    info = json.loads(read_bytes(folder, DATASET_FILE))
    info["class_weights"][0] = 1e39  # no float32
    write_bytes(folder, DATASET_FILE, json.dumps(info).encode())
    search = Search(site, "nan", num_trials=2, dataset=uri)
    with site.worker():
        search.start()
        code = search.end()
    row = search.check(Row("NaN loss"), "every trial failed, none was kept", failures=2)

    assert code == 1
    assert "the loss is nan in epoch 1" in row.cause
    table.append(row)


def test_a_corrupt_shard_fails_the_trials_that_read_it(
    site: Site, undisturbed: Curves, table: list[Row], own_data: tuple[str, Folder]
) -> None:
    uri, folder = own_data
    files = folder.get_file_info(FileSelector("", recursive=True))
    shard = sorted(one.path for one in files if one.path.endswith(".tar"))[0]
    whole = read_bytes(folder, shard)
    search = Search(site, "corrupt", dataset=uri, options=("--cache", "none"))

    def strike() -> float:
        write_bytes(folder, shard, whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
        wait_until(lambda: any(t.state is State.FAILED for t in search.trials()), "a failure")
        write_bytes(folder, shard, whole)
        return time.time()

    with site.worker():
        search.start()
        row = search.disturb("corrupt shard", strike)
        assert search.end() == 0
    row = search.check(row, "the trial failed, the others did not", undisturbed, failures=1)

    assert shard.rpartition("/")[2] in row.cause
    table.append(row)


@contextmanager
def _little_memory() -> Iterator[Path]:
    """Make a cgroup in which a process is soon killed by the kernel for want of memory."""
    v1 = Path("/sys/fs/cgroup/memory")
    group = (v1 if v1.is_dir() else v1.parent) / "cgnet-chaos"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")
        limit.write_text(str(1 << 20))  # what a process had before it came in is not counted
    except OSError as cause:
        pytest.skip(f"a limit of memory needs a cgroup, which this user may not make: {cause}")
    try:
        yield group
    finally:
        group.rmdir()


def test_a_trial_without_memory_fails_after_its_attempts(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    """Not by RLIMIT_AS: CPython hangs for ever in starting a thread that finds no memory."""
    search = Search(site, "memory")

    def strike() -> float:
        """Leave no memory to the process that trains, nor to those in its place, once at work."""
        poor: set[int] = set()

        def has_failed() -> bool:
            for one in site.find(TRAIN_WORKER):
                if len(poor) == MAX_ATTEMPTS:  # the next is another trial's
                    break
                with suppress(psutil.Error, ProcessLookupError):
                    if one.pid not in poor and site.reads_s3(one):
                        (group / "cgroup.procs").write_text(str(one.pid))
                        poor.add(one.pid)
            return any(t.state is State.FAILED for t in search.trials())

        wait_until(has_failed, "a failure")
        assert len(poor) == MAX_ATTEMPTS
        return time.time()

    with _little_memory() as group, site.worker():
        search.start()
        row = search.disturb("out of memory, three times (cgroup)", strike)
        assert search.end() == 0
    row = search.check(row, "the kernel killed it, the trial failed", undisturbed, failures=1)

    assert "3 attempts" in row.cause
    table.append(row)


def test_a_full_disk_is_waited_for(
    site: Site, undisturbed: Curves, table: list[Row], mount: Mount
) -> None:
    disk = mount(size="8M")
    with site.worker():
        search = Search(site, "full", dataset=site.dataset_uri, options=("--store", str(disk)))

        def strike() -> None:
            ballast = fill(disk)
            wait_until(lambda: "waits: " in search.log.read_text(), "a word about the disk")
            ballast.unlink()

        search.start()
        row = search.disturb("disk full where networks are kept", strike)
        assert search.end() == 0
        (told,) = [line for line in search.log.read_text().splitlines() if "waits: " in line]
        assert "No space left" in told
        table.append(search.check(row, told, undisturbed))
