"""Where the bytes of samples come from: ranges of shards, straight or through a copy kept nearby.

Every store answers ``read(shard, start, length)`` with exactly those bytes; stores wrap each other.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from pipeline.core.errors import CorruptSample

WHOLE_SHARD_BYTES = 1 << 30  # of a larger one, or of one that claims to be, only ranges are read


class ShardStore(Protocol):
    """Reads ranges of shards; safe to call from several threads."""

    def read(self, shard: str, start: int, length: int) -> bytes | memoryview:
        """Return ``length`` bytes of a shard from ``start`` on.

        Raises:
            CorruptSample: there is no such shard, or it ends before.
            ServiceUnavailable: the storage does not answer, however often it is asked.
        """
        ...


class ShardCache(ShardStore, Protocol):
    """A ``ShardStore`` that keeps whole shards of another one, each fetched once."""

    def holds(self, shard: str) -> bool:
        """Return whether a shard is at hand."""
        ...

    def fetch(self, shard: str) -> None:
        """Have a whole shard at hand, if there is room for it.

        Raises:
            ServiceUnavailable: see ``read``.
        """
        ...


class FolderShards:
    """Shards in a folder of this machine, read where they are."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, shard: str, start: int, length: int) -> bytes:
        """Return a range, see ``ShardStore``."""
        try:
            content = read_range(f"{self._path}/{shard}", start, length)
        except FileNotFoundError as cause:
            raise CorruptSample(f"{shard} is missing in {self._path}") from cause
        if len(content) < length:
            raise CorruptSample(
                f"{shard} in {self._path} ends at byte {start + len(content)}, "
                f"wanted {start + length}"
            )
        return content


class MemoryShards:
    """Whole shards in memory, each fetched once; it stands below a cache of decoded samples."""

    def __init__(self, source: ShardStore, sizes: Mapping[str, int]) -> None:
        """Take the bytes of each shard."""
        self._source = source
        self._sizes = sizes
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._fetched: dict[str, memoryview | None] = {}

    def read(self, shard: str, start: int, length: int) -> bytes | memoryview:
        """Return a range, see ``ShardStore``."""
        self.fetch(shard)
        if (content := self._fetched[shard]) is None:
            return self._source.read(shard, start, length)
        return content[start : start + length]

    def holds(self, shard: str) -> bool:
        """Return whether it was fetched, see ``ShardCache``."""
        return shard in self._fetched

    def fetch(self, shard: str) -> None:
        """Keep a whole shard, see ``ShardCache``."""
        with self._locks[shard]:
            if shard not in self._fetched:
                self._fetched[shard] = read_whole(self._source, shard, self._sizes[shard])


def read_range(path: str, start: int, length: int) -> bytes:
    """Return a range of a file of this machine, less where the file ends before.

    Bare system calls: after each decoding Python's code is in no cache of the processor, and a
    file object brings more of it.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, start)
    finally:
        os.close(descriptor)


def read_whole(source: ShardStore, shard: str, size: int) -> memoryview | None:
    """Return all of a shard; None if that cannot be had, which says nothing of its ranges."""
    if size > WHOLE_SHARD_BYTES:
        return None
    try:
        return memoryview(source.read(shard, 0, size))
    except CorruptSample:  # it is too short for its last sample; the others may be fine
        return None
