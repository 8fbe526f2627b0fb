"""Reading a sharded data set through its manifest, never through what a tar says of itself."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.config import CachePolicy, DataConfig
from pipeline.core.errors import DataError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, MAX_PIXELS, DatasetInfo
from pipeline.learning.disk_cache import DiskShards, default_cache_dir
from pipeline.learning.folder import Folder, folder_uri, read_bytes
from pipeline.learning.records import Records, read_records
from pipeline.learning.shards import FolderShards, MemoryShards, ShardCache, ShardStore
from pipeline.learning.split import Split

_BYTES_PER_PIXEL = 4  # three of the picture, one of the label
_MEMORY_LIMIT_BYTES = 4 << 30
_READERS = 16  # of a split's samples at a time, when each waits for an answer from far away
_CONTAINER = Path("/sys/fs/cgroup")


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

    def split(self, name: str, cache: CachePolicy = "auto", *, skip_corrupt: bool = False) -> Split:
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
            readers=1 if self.is_near or cache != "none" else _READERS,
        )

    def _best_cache(self, num_samples: int) -> CachePolicy:
        height, width = self.info.image_size
        wanted = num_samples * height * width * _BYTES_PER_PIXEL
        # There may be a worker on every core, each with two splits, and others want memory too.
        share = free_bytes() // max(4, 2 * (os.cpu_count() or 1))
        if wanted <= min(share, _MEMORY_LIMIT_BYTES):
            return "memory"
        return "none" if self.is_near else "disk"

    def _cache(self, records: Records, cache: CachePolicy) -> ShardCache | None:
        if self.is_near or cache == "none":
            return None
        sizes = records.shard_sizes()
        if cache == "memory":
            return MemoryShards(self.shards, sizes)
        return DiskShards(self.shards, sizes, self.cache_dir, self.info.fingerprint)


def free_bytes(container: Path = _CONTAINER) -> int:
    """Return the memory that is free on this machine, but no more than this container may have.

    Args:
        container: where Linux tells the limit of the control group.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = container / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        return min(free, int(text))
    return free


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
    _require_size(info.image_size, records)
    return Dataset(
        info,
        records,
        shards or FolderShards(folder_uri(folder)),
        is_near=shards is None,
        uri=folder_uri(folder),
        cache_dir=cache_dir or default_cache_dir(),
    )


def _require_size(size: tuple[int, int], records: Records) -> None:
    """Make sure that memory for pictures of a size can be had before one is looked at."""
    height, width = size
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{DATASET_FILE} says that pictures are {height}x{width}, more than "
            f"{MAX_PIXELS // 10**6} megapixels: preprocess again with --image-size"
        )
    for other_height, other_width in sorted(records.image_sizes() - {size})[:1]:
        raise DataError(
            f"{MANIFEST_FILE} has pictures of {other_height}x{other_width}, {DATASET_FILE} says "
            f"all are {height}x{width}: preprocess again"
        )


def _inside(name: str) -> str:
    """Return a name that a data set gives, once it is sure to lie inside the data set's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise DataError(f"the data set names {name!r}, which is outside its folder: do not use it")
    return name
