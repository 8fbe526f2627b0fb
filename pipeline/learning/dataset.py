"""Reading a sharded data set through its manifest, never through what a tar says of itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import CachePolicy, DataConfig
from pipeline.core.errors import CorruptSample, DataError, ServiceUnavailable
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, DatasetInfo, SampleRecord
from pipeline.learning.decoding import Sample, check_limits, corrupt, decode
from pipeline.learning.disk_cache import DiskShards, default_cache_dir
from pipeline.learning.folder import Folder, folder_uri, read_bytes
from pipeline.learning.records import Records, read_records
from pipeline.learning.shards import FolderShards, MemoryShards, ShardCache, ShardStore

_BYTES_PER_PIXEL = 4  # three of the picture, one of the label
_MEMORY_SHARE = 4  # a worker keeps at most a quarter of the free memory, since others want some too
_MEMORY_LIMIT_BYTES = 4 << 30
_MAX_GAP_BYTES = 64 << 10  # members this close are read in one go


@dataclass(frozen=True)
class Dataset:
    """An opened data set.

    Attributes:
        info: its description.
        records: its manifest.
        shards: where its shards are read from.
        is_near: whether that is this machine, so that copies of shards would be no gain.
        uri: for messages.
        cache_dir: for copies of shards that are far away.
    """

    info: DatasetInfo
    records: Records
    shards: ShardStore
    is_near: bool
    uri: str
    cache_dir: Path

    def split(
        self, name: str, cache: CachePolicy = "auto", *, skip_corrupt: bool = False
    ) -> "Split":
        """Return the samples of one split, in stored order.

        Args:
            name: train, val or test.
            cache: what is kept between epochs: nothing, whole shards on disk, decoded samples in
                memory; ``auto`` takes memory where the split fits, disk for what is far away.
            skip_corrupt: whether a sample that cannot be read is left out instead of raised.

        Raises:
            DataError: the split has no samples.
        """
        records = self.records.of_split(name)
        if not len(records):
            raise DataError(f"the data set in {self.uri} has no {name} split")
        if cache == "auto":
            cache = self._best_cache(len(records))
        return Split(
            records,
            self.shards,
            cache=self._cache(records, cache),
            keep=cache == "memory",
            skip_corrupt=skip_corrupt,
        )

    def _best_cache(self, num_samples: int) -> CachePolicy:
        height, width = self.info.image_size
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if num_samples * height * width * _BYTES_PER_PIXEL <= min(
            free // _MEMORY_SHARE, _MEMORY_LIMIT_BYTES
        ):
            return "memory"
        return "none" if self.is_near else "disk"

    def _cache(self, records: Records, cache: CachePolicy) -> ShardCache | None:
        if self.is_near or cache == "none":
            return None
        sizes = records.shard_sizes()
        if cache == "memory":
            return MemoryShards(self.shards, sizes)
        return DiskShards(self.shards, sizes, self.cache_dir, self.info.fingerprint)


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
    ) -> None:
        """Take the records of the split and where their bytes are read from.

        Args:
            records: of the split.
            shards: see there.
            cache: keeps those shards nearby.
            keep: whether a sample stays decoded in memory once it was read.
            skip_corrupt: see ``Dataset.split``.
        """
        self.records = records
        self._shards: ShardStore | None = shards
        self._cache = cache
        self._awaited: set[str] = set()  # the shards that are on their way into the cache
        self._keep = keep
        self._kept: dict[int, Sample] = {}
        self._known = bytearray(len(records))  # 1 for a sample that was read and was sound
        self._skip_corrupt = skip_corrupt
        self._corrupt: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample.

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
        sample = _read(record, shards, known=bool(self._known[index]))
        self._known[index] = True
        if self._keep:
            self._kept[index] = sample
            self._let_go()
        return sample

    def fetch(self, indices: NDArray[np.int64], is_over: Callable[[], bool]) -> None:
        """Fill the cache with the shards of samples, those first that are needed first.

        Until a shard is there its samples are read one by one, so that nobody waits for a whole
        one. Whatever goes wrong is left to those who read.

        Args:
            indices: of the samples, in the order they are needed.
            is_over: whether to stop.
        """
        if (cache := self._cache) is None:
            return
        missing = [shard for shard in self.records.shards_of(indices) if not cache.holds(shard)]
        self._awaited = set(missing)
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

    def sound(self, index: int) -> Sample | None:
        """Return a sample, or None for a corrupt one if those are to be skipped."""
        if index in self._corrupt:
            return None
        try:
            return self[index]
        except CorruptSample as error:
            if not self._skip_corrupt:
                raise
            self._corrupt[index] = str(error)
            self._let_go()
            return None

    def substitute(self, index: int) -> Sample:
        """Return a sample, or the next sound one in its place, so that no rank has fewer.

        Raises:
            DataError: not one sample of the split is sound.
        """
        for step in range(len(self)):
            if (sample := self.sound((index + step) % len(self))) is not None:
                return sample
        raise DataError(f"every sample is corrupt, such as: {next(iter(self._corrupt.values()))}")

    def _let_go(self) -> None:
        """Drop the shards, with the bytes that they hold, once no sample needs them again."""
        if self._keep and len(self._kept) + len(self._corrupt) == len(self):
            self._shards = self._cache = None

    @property
    def corrupt(self) -> tuple[str, ...]:
        """Return what was wrong with each sample that was skipped so far, in stored order."""
        return tuple(self._corrupt[index] for index in sorted(self._corrupt))


def _read(record: SampleRecord, shards: ShardStore, *, known: bool) -> Sample:
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
    return decode(record, image, label, known=known)


def open_dataset(
    folder: Folder,
    expected: DataConfig | None = None,
    shards: ShardStore | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """Open the data set in a folder.

    Args:
        folder: where ``dataset.json`` is.
        expected: what a training was planned on; None takes whatever is there.
        shards: reads the shards of a folder that is far away; None where it is on this machine.
        cache_dir: for copies of such shards; None takes this user's own.

    Raises:
        DataError: there is no data set, it cannot be read, or it is not the expected one.
    """
    info = DatasetInfo.from_json(read_bytes(folder, DATASET_FILE))
    if expected is not None and info.fingerprint != expected.fingerprint:
        raise DataError(
            f"the data set at {expected.uri} has changed: it is {info.fingerprint}, this training "
            f"was planned on {expected.fingerprint}; choose a new --name to search on the new data"
        )
    _inside(info.fingerprint)  # names a folder of the cache
    records = read_records(read_bytes(folder, f"{_inside(info.generation)}/{MANIFEST_FILE}"))
    for shard in records.shard_sizes():
        _inside(shard)
    return Dataset(
        info,
        records,
        shards or FolderShards(folder),
        is_near=shards is None,
        uri=folder_uri(folder),
        cache_dir=cache_dir or default_cache_dir(),
    )


def _inside(name: str) -> str:
    """Return a name that a data set gives, once it is sure to lie inside the data set's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise DataError(f"the data set names {name!r}, which is outside its folder: do not use it")
    return name
