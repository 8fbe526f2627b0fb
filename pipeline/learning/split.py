"""The samples of one split, from wherever their bytes are nearest, decoded once or each time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import CorruptSample, DataError, ServiceUnavailable
from pipeline.core.manifest import SampleRecord
from pipeline.learning.decoding import Sample, check_limits, corrupt, decode
from pipeline.learning.records import Records
from pipeline.learning.shards import ShardCache, ShardStore

Result = TypeVar("Result")

_MAX_GAP_BYTES = 64 << 10  # members this close are read in one go


class Split:
    """The samples of one split; safe to read from several threads."""

    def __init__(
        self,
        records: Records,
        shards: ShardStore,
        *,
        cache: ShardCache | None = None,
        keep: bool = False,
        skip_corrupt: bool = False,
        readers: int = 1,
    ) -> None:
        """Take the records of the split and where their bytes are read from.

        Args:
            records: of the split.
            shards: see there.
            cache: keeps those shards nearby.
            keep: whether a sample stays decoded in memory once it was read.
            skip_corrupt: see ``Dataset.split``.
            readers: samples that ``at_once`` reads at a time, for shards that are far away.
        """
        self.records = records
        self._shards: ShardStore | None = shards
        self._cache = cache
        self._awaited: set[str] = set()  # the shards that are on their way into the cache
        self._keep = keep
        self._kept: dict[int, Sample] = {}
        self._known = bytearray(len(records))  # 1 for a sample that was read and was sound
        self._skip_corrupt = skip_corrupt
        self._readers = ThreadPoolExecutor(readers, "reader") if readers > 1 else None
        self._corrupt: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample; see ``read``."""
        return self.read(index)

    def read(self, index: int, room: Sample | None = None) -> Sample:
        """Return a sample.

        Args:
            index: of the sample.
            room: where its pixels may be put; one that is kept has memory of its own.

        Raises:
            CorruptSample: it cannot be read.
            ServiceUnavailable: the storage does not answer.
        """
        if (kept := self._kept.get(index)) is not None:
            return kept
        if (shards := self._shards) is None:  # another thread has just read the last sample
            if index in self._corrupt:
                raise CorruptSample(self._corrupt[index])
            return self._kept[index]
        record = self.records[index]
        if (cache := self._cache) is not None and record.shard not in self._awaited:
            shards = cache
        known = bool(self._known[index])
        sample = _read(record, shards, known=known, room=None if self._keep else room)
        self._known[index] = True
        if self._keep:
            self._kept[index] = sample
            self._let_go()
        return sample

    def missing(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the shards of samples that the cache lacks, those first that are needed first.

        Until ``fetch`` has brought one its samples are read one by one, so that nobody waits for
        a whole one.

        Args:
            indices: of the samples, in the order they are needed.
        """
        if (cache := self._cache) is None:
            return []
        missing = [shard for shard in self.records.shards_of(indices) if not cache.holds(shard)]
        self._awaited = set(missing)
        return missing

    def fetch(self, missing: list[str], is_over: Callable[[], bool]) -> None:
        """Fill the cache. Whatever goes wrong is left to those who read.

        Args:
            missing: see there.
            is_over: whether to stop.
        """
        if (cache := self._cache) is None:
            return
        try:
            for shard in missing:
                if is_over():
                    return
                cache.fetch(shard)
                self._awaited.discard(shard)
        except ServiceUnavailable:
            return
        finally:
            self._awaited = set()

    def sound(self, index: int, room: Sample | None = None) -> Sample | None:
        """Return a sample, see ``read``, or None for a corrupt one if those are to be skipped."""
        if index in self._corrupt:
            return None
        try:
            return self.read(index, room)
        except CorruptSample as error:
            if not self._skip_corrupt:
                raise
            self._corrupt[index] = str(error)
            self._let_go()
            return None

    def substitute(self, index: int, room: Sample | None = None) -> Sample:
        """Return a sample, or the next sound one in its place, so that no rank has fewer.

        Args:
            index: of the sample.
            room: see ``read``.

        Raises:
            DataError: not one sample of the split is sound.
        """
        for step in range(len(self)):
            if (sample := self.sound((index + step) % len(self), room)) is not None:
                return sample
        raise DataError(f"every sample is corrupt, such as: {next(iter(self._corrupt.values()))}")

    def at_once(self, read: Callable[..., Result], *each: Iterable[Any]) -> Iterator[Result]:
        """Yield what ``read`` makes of each sample, in order; far ones are asked for together."""
        return map(read, *each) if self._readers is None else self._readers.map(read, *each)

    def _let_go(self) -> None:
        """Drop the shards, with the bytes that they hold, once no sample needs them again."""
        if self._keep and len(self._kept) + len(self._corrupt) == len(self):
            self._shards = self._cache = None

    @property
    def corrupt(self) -> tuple[str, ...]:
        """Return what was wrong with each sample that was skipped so far, in stored order."""
        return tuple(self._corrupt[index] for index in sorted(self._corrupt))


def _read(record: SampleRecord, shards: ShardStore, *, known: bool, room: Sample | None) -> Sample:
    check_limits(record)
    (image_start, image_end), (label_start, label_end) = (
        (record.image_offset, record.image_offset + record.image_bytes),
        (record.label_offset, record.label_offset + record.label_bytes),
    )
    start, end = min(image_start, label_start), max(image_end, label_end)
    try:
        if end - start > record.image_bytes + record.label_bytes + _MAX_GAP_BYTES:
            image = shards.read(record.shard, image_start, record.image_bytes)
            label = shards.read(record.shard, label_start, record.label_bytes)
        else:
            both = memoryview(shards.read(record.shard, start, end - start))
            image = both[image_start - start : image_end - start]
            label = both[label_start - start : label_end - start]
    except CorruptSample as cause:
        raise corrupt(record, f"cannot be read ({cause})") from cause
    return decode(record, image, label, known=known, room=room)
