"""Whole shards copied to this machine's disk, within a bound."""

import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pipeline.learning.shards import ShardStore

_LIMIT_BYTES = 64 << 30
_FREE_SHARE = 2  # at most half of what is free on the disk


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
        self._sizes = sizes
        self._root = cache_dir
        self._own = cache_dir / data_set
        self._own.mkdir(parents=True, exist_ok=True)
        os.utime(self._own)  # last used now
        free = shutil.disk_usage(cache_dir).free // _FREE_SHARE
        held = _held_bytes(cache_dir)
        self._limit = min(_LIMIT_BYTES, held + free) if limit_bytes is None else limit_bytes
        self._make_room(sum(sizes.values()))
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._room = threading.Lock()
        self._reserved = 0
        self._is_full = False

    def read(self, shard: str, start: int, length: int) -> bytes | memoryview:
        """Return a range, see ``ShardStore``."""
        path = self._own / shard
        with self._locks[shard]:
            if not path.exists() and not self._copy(shard, path):
                return self._source.read(shard, start, length)
        try:
            with path.open("rb") as file:
                content = os.pread(file.fileno(), length, start)
        except FileNotFoundError:  # another process made room
            content = b""
        return content if len(content) == length else self._source.read(shard, start, length)

    def _make_room(self, wanted: int) -> None:
        others = [path for path in self._root.iterdir() if path.is_dir() and path != self._own]
        for path in sorted(others, key=lambda path: path.stat().st_mtime):
            if _held_bytes(self._root) - _held_bytes(self._own) + wanted <= self._limit:
                return
            shutil.rmtree(path, ignore_errors=True)

    def _copy(self, shard: str, path: Path) -> bool:
        """Copy a shard here; False if there is no room for it."""
        if not self._reserve(self._sizes[shard]):
            return False
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            content = self._source.read(shard, 0, self._sizes[shard])
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:  # the disk is full, or not ours to write: training goes on without it
            partial.unlink(missing_ok=True)
            self._is_full = True
        finally:
            with self._room:
                self._reserved -= self._sizes[shard]
        return path.exists()

    def _reserve(self, size: int) -> bool:
        with self._room:
            self._is_full |= _held_bytes(self._root) + self._reserved + size > self._limit
            if not self._is_full:
                self._reserved += size
            return not self._is_full


def _held_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # another process replaced or removed it
            continue
    return total
