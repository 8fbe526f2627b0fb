"""Whole shards copied to this machine's disk, within a bound."""

import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.learning.shards import WHOLE_SHARD_BYTES, ShardStore, read_range, read_whole

_LIMIT_BYTES = 64 << 30
_FREE_SHARE = 2  # at most half of what is free on the disk
_PARTIAL = ".partial"
_PARTIAL_S = 3600.0  # what was not whole by then never will be: its writer was killed


def default_cache_dir() -> Path:
    """Return where this user's copies of shards are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cgnet-search"


class DiskShards:
    """The shards of one data set, each copied when it is first read, while there is room.

    Every epoch reads every sample once, so nothing kept is worth less than what would replace it:
    a full cache stays as it is and the rest is read from the source. Room is made once, at the
    start, from the data sets that have not been used for longest. Processes may share a cache.
    """

    def __init__(
        self,
        source: ShardStore,
        sizes: Mapping[str, int],
        cache_dir: Path,
        data_set: str,
        limit_bytes: int | None = None,
    ) -> None:
        """Open the cache.

        Args:
            source: where shards are copied from.
            sizes: bytes of each shard.
            cache_dir: holds a folder for each data set.
            data_set: the name of this one's folder.
            limit_bytes: most that ``cache_dir`` may hold; None takes up to half of what is free.
        """
        self._source = source
        self._sizes = {s: size for s, size in sizes.items() if size <= WHOLE_SHARD_BYTES}
        self._root = cache_dir
        self._own = cache_dir / data_set
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._room = threading.Lock()
        self._reserved = 0
        self._limit = 0
        self._is_full = False
        try:
            self._open(limit_bytes)
        except OSError:  # the disk is full, or not ours to write: training goes on without copies
            self._is_full = True

    def read(self, shard: str, start: int, length: int) -> bytes | memoryview:
        """Return a range, see ``ShardStore``."""
        if (content := self._copied(shard, start, length)) is None:
            self.fetch(shard)
            content = self._copied(shard, start, length)
        return self._source.read(shard, start, length) if content is None else content

    def holds(self, shard: str) -> bool:
        """Return whether there is a copy, see ``ShardCache``."""
        return (self._own / shard).exists()

    def fetch(self, shard: str) -> None:
        """Copy a shard, see ``ShardCache``."""
        path = self._own / shard
        with self._locks[shard]:
            if not path.exists():
                self._copy(shard, path)

    def _copied(self, shard: str, start: int, length: int) -> bytes | None:
        try:
            content = read_range(f"{self._own}/{shard}", start, length)
        except OSError:  # no copy, or no room for it, or another process made room, or a bad disk
            return None
        return content if len(content) == length else None

    def _open(self, limit_bytes: int | None) -> None:
        self._own.mkdir(parents=True, exist_ok=True)
        os.utime(self._own)  # last used now
        for path in self._root.rglob(f"*{_PARTIAL}"):
            if _last_used(path) < time.time() - _PARTIAL_S:
                path.unlink(missing_ok=True)
        free = shutil.disk_usage(self._root).free // _FREE_SHARE
        held = _held_bytes(self._root)
        self._limit = min(_LIMIT_BYTES, held + free) if limit_bytes is None else limit_bytes
        self._make_room(sum(self._sizes.values()))

    def _make_room(self, wanted: int) -> None:
        others = [path for path in self._root.iterdir() if path.is_dir() and path != self._own]
        for path in sorted(others, key=_last_used):
            if _held_bytes(self._root) - _held_bytes(self._own) + wanted <= self._limit:
                return
            shutil.rmtree(path, ignore_errors=True)

    def _copy(self, shard: str, path: Path) -> None:
        size = self._sizes.get(shard)
        if size is None or not self._reserve(size):
            return
        try:
            content = read_whole(self._source, shard, size)
            if content is not None and not _write(path, content):
                self._is_full = True
        finally:
            with self._room:
                self._reserved -= size

    def _reserve(self, size: int) -> bool:
        with self._room:
            if not self._is_full:
                self._is_full = _held_bytes(self._root) + self._reserved + size > self._limit
            if not self._is_full:
                self._reserved += size
            return not self._is_full


def _write(path: Path, content: memoryview) -> bool:
    """Write a file whole or not at all; False if the disk is full, or not ours to write."""
    # A name of its own for each writer, since processes that share a cache may share a number.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        return False
    return True


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process made room
        return 0.0


def _held_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # passes over folders that another process removes
        for name in names:
            with suppress(OSError):
                total += Path(parent, name).stat().st_size
    return total
