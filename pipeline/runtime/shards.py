"""One shard of a data set: a WebDataset tar, and the records of what lies where in it."""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.manifest import SampleRecord
from pipeline.learning.folder import Folder, write_bytes
from pipeline.sources.source import LabelledImage, Source


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
