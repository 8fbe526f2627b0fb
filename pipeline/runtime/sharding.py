"""A labelled data set into WebDataset shards, one Ray task a shard.

The shards and the manifest of one source and one set of settings lie in a generation folder named
by their fingerprint. ``dataset.json`` names the generation and is written last: until then readers
see the data set before, or none.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import webdataset
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.manifest import (
    DATASET_FILE,
    MANIFEST_FILE,
    DatasetInfo,
    SampleRecord,
    class_weights,
)
from pipeline.learning.dataset import write_records
from pipeline.learning.folder import Folder, exists, read_bytes, write_bytes
from pipeline.runtime.storage import open_folder
from pipeline.sources.source import LabelledImage, Source

SAMPLES_PER_SHARD = 64
_LAYOUT_VERSION = 1


@dataclass(frozen=True)
class ShardResult:
    """What one task wrote, and the sums that the statistics are made of.

    ``channel_sums`` and ``channel_squares`` are (3,) sums over all pixels of the shard.
    """

    records: tuple[SampleRecord, ...]
    channel_sums: NDArray[np.float64]
    channel_squares: NDArray[np.float64]


@dataclass(frozen=True)
class Shard:
    """One shard to write: its place and the samples in it."""

    path: str
    split: str
    keys: tuple[str, ...]


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
    if exists(folder, DATASET_FILE):
        info = DatasetInfo.from_json(read_bytes(folder, DATASET_FILE))
        if info.fingerprint == fingerprint:
            return info
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
        classes=source.classes,
        num_samples={split: len(keys) for split, keys in source.keys().items()},
        image_size=sizes.pop(),
        mean=_triple(mean),
        std=_triple(np.maximum(std, 1.0)),  # a channel without spread is left as it is
        class_weights=class_weights(class_pixels[:-1].tolist()),
    )


def write_shard(
    source: Source, shard: Shard, folder: Folder, image_size: tuple[int, int] | None
) -> ShardResult:
    """Write one shard; the same source and settings give the same bytes.

    Raises:
        DataError: a sample cannot be read.
    """
    buffer = io.BytesIO()
    sums, squares = np.zeros(3), np.zeros(3)
    records = []
    with webdataset.TarWriter(buffer, user="", group="", mtime=0.0, encoder=False) as tar:
        for key in shard.keys:
            sample = _resized(source.read(shard.split, key), image_size)
            image, label = _png(sample.image_HWC), _png(sample.label_HW)
            tar.write({"__key__": key, "image.png": image, "label.png": label})
            pixels = sample.image_HWC.reshape(-1, 3).astype(np.float64)
            sums += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
            records.append(_record(source, shard, key, sample, image, label))
    content = buffer.getvalue()
    write_bytes(folder, shard.path, content)
    offsets = _member_offsets(content)
    placed = tuple(
        SampleRecord(
            **record,
            image_offset=offsets[f"{record['key']}.image.png"],
            label_offset=offsets[f"{record['key']}.label.png"],
        )
        for record in records
    )
    return ShardResult(placed, sums, squares)


def _record(
    source: Source, shard: Shard, key: str, sample: LabelledImage, image: bytes, label: bytes
) -> dict[str, Any]:
    k = source.classes.num_classes
    counts = np.bincount(sample.label_HW.ravel(), minlength=256)
    height, width = sample.label_HW.shape
    return {
        "key": key,
        "split": shard.split,
        "shard": shard.path,
        "image_bytes": len(image),
        "label_bytes": len(label),
        "height": height,
        "width": width,
        "class_pixels": (*counts[:k].tolist(), int(counts[source.classes.ignore_index])),
        "sha256": hashlib.sha256(image + label).hexdigest(),
    }


def _member_offsets(content: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: member.offset_data for member in tar}


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


def _resized(sample: LabelledImage, size: tuple[int, int] | None) -> LabelledImage:
    if size is None or size == sample.label_HW.shape:
        return sample
    height, width = size
    image = Image.fromarray(sample.image_HWC).resize((width, height), Image.Resampling.BOX)
    label = Image.fromarray(sample.label_HW).resize((width, height), Image.Resampling.NEAREST)
    return LabelledImage(np.asarray(image), np.asarray(label))


def _png(array: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def _fingerprint(source: Source, image_size: tuple[int, int] | None) -> str:
    settings = [_LAYOUT_VERSION, SAMPLES_PER_SHARD, source.fingerprint(), image_size]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
