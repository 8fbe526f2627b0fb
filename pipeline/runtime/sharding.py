"""A labelled data set into WebDataset shards, one Ray task a shard.

The shards and the manifest of one source and one set of settings lie in a generation folder named
by their fingerprint. ``dataset.json`` names the generation and is written last: until then readers
see the data set before, or none.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.manifest import (
    DATASET_FILE,
    MANIFEST_FILE,
    DatasetInfo,
    SampleRecord,
    class_weights,
)
from pipeline.learning.folder import exists, read_bytes, write_bytes
from pipeline.learning.records import write_records
from pipeline.runtime.shards import Shard, ShardResult, write_shard
from pipeline.runtime.storage import open_folder
from pipeline.sources.source import Source

SAMPLES_PER_SHARD = 64
_LAYOUT_VERSION = 1


Progress = Callable[[int, int], None]  # samples done, samples in all


def shard_dataset(
    source: Source,
    name: str,
    uri: str,
    image_size: tuple[int, int] | None,
    progress: Progress,
) -> DatasetInfo:
    """Write a source as shards; return what the data set says of itself.

    A data set that is already there from the same source and settings is left as it is.

    Args:
        source: what to read.
        name: of the data set.
        uri: the folder that becomes the data set.
        image_size: (height, width) to resize to; None keeps the pictures' size.
        progress: told after each shard.

    Raises:
        DataError: a sample cannot be read, or sizes differ and no ``image_size`` is given.
    """
    folder = open_folder(uri)
    fingerprint = _fingerprint(source, image_size)
    before = None
    if exists(folder, DATASET_FILE):
        before = DatasetInfo.from_json(read_bytes(folder, DATASET_FILE))
        if before.fingerprint == fingerprint:
            return before
    shards = plan_shards(source, fingerprint)
    total = sum(len(shard.keys) for shard in shards)
    results: list[ShardResult | None] = [None] * len(shards)
    done = 0
    for index, result in _write_all(source, shards, uri, image_size):
        results[index] = result
        done += len(result.records)
        progress(done, total)
    complete = [result for result in results if result is not None]
    records = [record for result in complete for record in result.records]
    info = describe(source, name, fingerprint, records, complete)
    write_bytes(folder, f"{fingerprint}/{MANIFEST_FILE}", write_records(records))
    write_bytes(folder, DATASET_FILE, info.to_json().encode())
    if before is not None:
        folder.delete_dir(before.fingerprint)  # no reader can find it any more
    return info


def plan_shards(source: Source, fingerprint: str) -> list[Shard]:
    """Return the shards of every split, in stored order."""
    return [
        Shard(f"{fingerprint}/{split}-{start // SAMPLES_PER_SHARD:06d}.tar", split, tuple(keys))
        for split, all_keys in source.keys().items()
        for start in range(0, len(all_keys), SAMPLES_PER_SHARD)
        if (keys := all_keys[start : start + SAMPLES_PER_SHARD])
    ]


def describe(
    source: Source,
    name: str,
    fingerprint: str,
    records: Sequence[SampleRecord],
    results: Sequence[ShardResult],
) -> DatasetInfo:
    """Return the data set's description; its statistics are over the train split alone.

    Raises:
        DataError: the pictures differ in size.
    """
    sizes = {(record.height, record.width) for record in records}
    if len(sizes) > 1:
        raise DataError(
            f"the pictures have {len(sizes)} sizes, from {_size(min(sizes))} to "
            f"{_size(max(sizes))}: choose one with --image-size HEIGHTxWIDTH"
        )
    train = [result for result in results if result.records[0].split == "train"]
    pixels = sum(r.height * r.width for result in train for r in result.records)
    if not pixels:
        raise DataError(f"{source.name} has no train split: nothing to learn from")
    mean = np.sum([result.channel_sums for result in train], axis=0) / pixels
    squares = np.sum([result.channel_squares for result in train], axis=0) / pixels
    std = np.sqrt(squares - mean**2)
    class_pixels = np.sum([r.class_pixels for result in train for r in result.records], axis=0)
    return DatasetInfo(
        name=name,
        fingerprint=fingerprint,
        generation=fingerprint,
        classes=source.classes,
        num_samples={split: len(keys) for split, keys in source.keys().items()},
        image_size=sizes.pop(),
        mean=_triple(mean),
        std=_triple(np.maximum(std, 1.0)),  # a channel without spread is left as it is
        class_pixels=tuple(class_pixels[:-1].tolist()),
        class_weights=class_weights(class_pixels[:-1].tolist()),
    )


def _write_all(
    source: Source, shards: Sequence[Shard], uri: str, image_size: tuple[int, int] | None
) -> Iterator[tuple[int, ShardResult]]:
    """Yield (index, result) of each shard as its task ends; the first failure ends them all."""
    task = ray.remote(num_cpus=1, max_retries=3)(_shard_task)
    pending = {
        task.remote(source, shard, uri, image_size): index for index, shard in enumerate(shards)
    }
    while pending:
        (ready, *_), _ = ray.wait(list(pending), num_returns=1)
        index = pending.pop(ready)
        try:
            yield index, ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            for other in pending:
                ray.cancel(other)
            if isinstance(error.cause, PipelineError):
                raise type(error.cause)(str(error.cause)) from None
            raise DataError(f"{shards[index].path} cannot be written: {error.cause}") from error


def _shard_task(
    source: Source, shard: Shard, uri: str, image_size: tuple[int, int] | None
) -> ShardResult:
    return write_shard(source, shard, open_folder(uri), image_size)


def _fingerprint(source: Source, image_size: tuple[int, int] | None) -> str:
    settings = [_LAYOUT_VERSION, SAMPLES_PER_SHARD, source.fingerprint(), image_size]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
