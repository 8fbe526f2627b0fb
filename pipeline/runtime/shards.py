"""One shard of a data set: a WebDataset tar, and the part that says what lies where in it."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.layout import Layout, Shard
from pipeline.core.manifest import ClassTable, SampleRecord
from pipeline.learning.folder import Folder, open_whole
from pipeline.learning.records import records_table
from pipeline.runtime.parts import Part
from pipeline.runtime.pictures import (
    ChannelSums,
    count_classes,
    decode_image,
    encode_image,
    resized,
)
from pipeline.runtime.tars import end_tar, write_member
from pipeline.sources import png
from pipeline.sources.source import LabelledImage, Source

_SUFFIXES = {"png": "image.png", "jpeg": "image.jpg", "webp": "image.webp"}
_LABEL = "label.png"


@dataclass(frozen=True)
class EncodedSample:
    """A sample as it is stored, and what is counted of it."""

    image: bytes
    label: bytes
    height: int
    width: int
    class_pixels: tuple[int, ...]
    pixels_HWC: NDArray[np.uint8]

    @property
    def channels(self) -> ChannelSums:
        """Return the sums over the picture as a training will see it."""
        return ChannelSums.of(self.pixels_HWC)

    @property
    def sha256(self) -> str:
        """Return the hash over the image's bytes and then the label's."""
        digest = hashlib.sha256(self.image)
        digest.update(self.label)
        return digest.hexdigest()


def write_shard(source: Source, layout: Layout, folder: Folder, shard: Shard) -> Part:
    """Write one shard; the same source and layout give the same bytes.

    Raises:
        DataError: a sample cannot be read.
    """
    suffix = _SUFFIXES[layout.encoding]
    channels = ChannelSums()
    records = []
    with open_whole(folder, shard.path) as stream:  # S3 takes it while the next sample is made
        for key in shard.keys:
            _require_tar_key(key, source.name)
            where = f"{source.name} {shard.split}/{key}"
            sample = encode(source.read(shard.split, key), source.classes, layout, where)
            if shard.split == "train":  # no other is asked for its statistics
                channels += sample.channels
            records.append(
                SampleRecord(
                    key=key,
                    split=shard.split,
                    shard=shard.path,
                    image_offset=write_member(stream, f"{key}.{suffix}", sample.image),
                    image_bytes=len(sample.image),
                    label_offset=write_member(stream, f"{key}.{_LABEL}", sample.label),
                    label_bytes=len(sample.label),
                    height=sample.height,
                    width=sample.width,
                    class_pixels=sample.class_pixels,
                    sha256=sample.sha256,
                )
            )
        end_tar(stream)
    return Part(records_table(records), channels, layout.encoding)


def encode(sample: LabelledImage, classes: ClassTable, layout: Layout, where: str) -> EncodedSample:
    """Return a sample as it will be stored.

    Raises:
        DataError: a label is no class.
    """
    sample = resized(sample, layout.image_size)
    content, pixels_HWC = encode_image(sample.image_HWC, layout), sample.image_HWC
    if layout.encoding != "png":
        pixels_HWC, _ = decode_image(content, where)
    height, width = sample.label_HW.shape
    return EncodedSample(
        image=content,
        label=png.encode(sample.label_HW),
        height=height,
        width=width,
        class_pixels=count_classes(sample.label_HW, classes, where),
        pixels_HWC=pixels_HWC,
    )


def _require_tar_key(key: str, source: str) -> None:
    if "." in key.rpartition("/")[2]:
        raise DataError(
            f"{source} has the key {key!r}, wanted one without a dot: WebDataset would take the "
            "dot for the key's end"
        )
