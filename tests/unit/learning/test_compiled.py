"""Compiled code is kept for the next process; whatever happens to it, the answer is right."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numba.core.caching
import pytest

from pipeline.learning import compiled as module
from pipeline.learning import norm_act_kernels
from pipeline.learning.compiled import compiled

PROGRAM = """
import json
from pipeline.learning.compiled import compiled

@compiled()
def changed(x):
    return {formula}

print(json.dumps([changed(3), sum(changed.stats.cache_hits.values())]))
"""


def run(folder: Path, formula: str = "x + 1") -> tuple[int, int]:
    """Return what a function gives for 3 in a new process, and how often it was found on disk."""
    program = folder / "program.py"
    program.write_text(PROGRAM.format(formula=formula))
    done = subprocess.run(
        [sys.executable, program],
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    value, hits = json.loads(done.stdout)
    return value, hits


def kept_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "cache").rglob("*") if path.is_file()]


def test_the_next_process_finds_what_was_compiled(tmp_path: Path) -> None:
    assert [run(tmp_path), run(tmp_path)] == [(4, 0), (4, 1)]


def test_damaged_files_are_as_good_as_none(tmp_path: Path) -> None:
    run(tmp_path)
    assert kept_files(tmp_path)
    for path in kept_files(tmp_path):
        path.write_bytes(b"")

    assert [run(tmp_path), run(tmp_path)] == [(4, 0), (4, 1)]


def test_a_changed_file_has_code_of_its_own(tmp_path: Path) -> None:
    """Else a process that is killed between index and code leaves the old code for the new file."""
    before = run(tmp_path)
    old = set(kept_files(tmp_path))

    assert (before, run(tmp_path, "x - 1")) == ((4, 0), (2, 0))
    assert not {path.parent for path in set(kept_files(tmp_path)) - old} & {p.parent for p in old}


def test_each_file_of_a_process_has_code_of_its_own() -> None:
    own: Any = compiled()(lambda x: x + 1)
    others: Any = norm_act_kernels.forward

    assert Path(own._cache.cache_path).parent != Path(others._cache.cache_path).parent


def test_a_full_disk_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)

    assert compiled()(lambda x: x + 1)(3) == 4


def test_it_compiles_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose files are read-only."""
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    assert compiled()(lambda x: x + 1)(3) == 4


def test_kernels_that_are_imported_at_once_leave_numbas_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loader's threads import some while the step imports others."""
    given = module.config.CACHE_DIR
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def keep(function: object) -> None:
        if function is one:
            first_is_in.set()
            second_is_in.wait(0.3)  # which it must not be
        else:
            second_is_in.set()
            first_is_out.wait(10)

    def one() -> None: ...
    def other() -> None: ...

    def import_one() -> None:
        compiled()(one)
        first_is_out.set()

    monkeypatch.setattr(module, "_Kept", keep)
    threads = [threading.Thread(target=import_one)]
    threads[0].start()
    assert first_is_in.wait(10)
    threads.append(threading.Thread(target=compiled(), args=(other,)))
    threads[1].start()
    for thread in threads:
        thread.join()

    assert second_is_in.is_set()
    assert given == module.config.CACHE_DIR
