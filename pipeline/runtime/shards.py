"""One shard of a data set: a WebDataset tar, and the part that says what lies where in it."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import webdataset
from pyarrow import NativeFile

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
    encode_png,
    resized,
)
from pipeline.runtime.tars import read_members
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
    channels: ChannelSums

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
    described = []
    buffer = io.BytesIO()
    with open_whole(folder, shard.path) as stream:
        # A whole number of seconds: for a fraction tarfile would add a header to each member.
        with webdataset.TarWriter(buffer, user="", group="", mtime=0, encoder=False) as tar:
            for key in shard.keys:
                _require_tar_key(key, source.name)
                where = f"{source.name} {shard.split}/{key}"
                sample = encode(source.read(shard.split, key), source.classes, layout, where)
                tar.write({"__key__": key, suffix: sample.image, _LABEL: sample.label})
                channels += sample.channels
                described.append(_describe(sample, key, shard))
                _send_on(buffer, stream)  # S3 takes it while the next sample is made
        _send_on(buffer, stream)
    buffer.seek(0)
    offsets = {member.name: member.offset for member in read_members(buffer, shard.path)}
    records = [
        SampleRecord(
            **fields,
            image_offset=offsets[f"{fields['key']}.{suffix}"],
            label_offset=offsets[f"{fields['key']}.{_LABEL}"],
        )
        for fields in described
    ]
    return Part(records_table(records), channels, layout.encoding)


def encode(sample: LabelledImage, classes: ClassTable, layout: Layout, where: str) -> EncodedSample:
    """Return a sample as it will be stored.

    Raises:
        DataError: a label is no class.
    """
    image, label = resized(sample, layout.image_size)
    content = encode_image(image, layout)
    if layout.encoding != "png":  # the statistics are of what a training will see
        image, _ = decode_image(content, where)
    return EncodedSample(
        image=content,
        label=encode_png(label),
        height=image.height,
        width=image.width,
        class_pixels=count_classes(label, classes, where),
        channels=ChannelSums.of(image),
    )


def _send_on(buffer: io.BytesIO, stream: NativeFile) -> None:
    """Write to the stream what the buffer holds beyond it."""
    with buffer.getbuffer() as content:
        stream.write(content[stream.tell() :])


def _require_tar_key(key: str, source: str) -> None:
    if "." in key.rpartition("/")[2]:
        raise DataError(
            f"{source} has the key {key!r}, wanted one without a dot: WebDataset would take the "
            "dot for the key's end"
        )


def _describe(sample: EncodedSample, key: str, shard: Shard) -> dict[str, Any]:
    return {
        "key": key,
        "split": shard.split,
        "shard": shard.path,
        "image_bytes": len(sample.image),
        "label_bytes": len(sample.label),
        "height": sample.height,
        "width": sample.width,
        "class_pixels": sample.class_pixels,
        "sha256": sample.sha256,
    }
