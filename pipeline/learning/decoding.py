"""From a sample's bytes to pixels, trusting neither the bytes nor the manifest.

A member is checked against its sha256 and decoded as a picture of a few formats: nothing in a shard
can make the reader run code, write files, or fill the memory. H height, W width, C channels.
"""

import hashlib
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import CorruptSample
from pipeline.core.manifest import MAX_MEMBER_BYTES, MAX_PIXELS, SampleRecord
from pipeline.learning import bare_png
from pipeline.sources import png

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
LABEL_FORMATS = ("PNG",)
_LABEL_MODES = ("L", "P")  # of a palette picture the indices count, not the colours


class Sample(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and its label, uint8 (H, W) of class ids."""

    image_HWC: NDArray[np.uint8]
    label_HW: NDArray[np.uint8]


def decode(
    record: SampleRecord,
    image: bytes | memoryview,
    label: bytes | memoryview,
    *,
    known: bool = False,
    room: Sample | None = None,
) -> Sample:
    """Return the sample whose members these bytes are; read-only, unless there is ``room``.

    Args:
        record: of the sample.
        image: its file.
        label: likewise.
        known: whether the same were hashed before; a PNG's own checksums are looked at each time.
        room: of its size, where its pixels may be put; those of other formats than PNG are not.

    Raises:
        CorruptSample: the bytes are not what the manifest says; names shard and sample.
    """
    if not known:
        digest = hashlib.sha256(image)
        digest.update(label)
        if digest.hexdigest() != record.sha256:
            raise corrupt(record, "is damaged: its sha256 differs from the manifest's")
    image_room, label_room = room or (None, None)
    sample = Sample(
        _pixels(record, image, IMAGE_FORMATS, None, image_room),
        _pixels(record, label, LABEL_FORMATS, _LABEL_MODES, label_room),
    )
    if room is None:
        for part in sample:
            part.flags.writeable = False  # it may be kept, and every epoch gets the same one
    return sample


def check_limits(record: SampleRecord) -> None:
    """Refuse a sample that no camera took before any byte of it is read.

    Raises:
        CorruptSample: a member or the picture is larger than what is decoded, or lies nowhere.
    """
    if min(record.image_offset, record.image_bytes, record.label_offset, record.label_bytes) < 0:
        raise corrupt(record, "has a negative offset or length in the manifest")
    if max(record.image_bytes, record.label_bytes) > MAX_MEMBER_BYTES:
        raise corrupt(record, f"has a member of more than {MAX_MEMBER_BYTES >> 20} MiB")
    if record.height * record.width > MAX_PIXELS:
        raise corrupt(record, f"has more than {MAX_PIXELS // 10**6} megapixels")


def corrupt(record: SampleRecord, what: str) -> CorruptSample:
    """Return the error that says what is wrong with a sample."""
    return CorruptSample(f"sample {record.key} in {record.shard} {what}: preprocess again")


def _pixels(
    record: SampleRecord,
    content: bytes | memoryview,
    formats: tuple[str, ...],
    modes: tuple[str, ...] | None,
    room: NDArray[np.uint8] | None,
) -> NDArray[np.uint8]:
    """Decode a picture; into RGB unless it must be of one of ``modes``."""
    wanted = (record.height, record.width) if modes else (record.height, record.width, 3)
    try:
        if png.bare_shape(content) == wanted:
            return bare_png.decode(content, wanted, room)
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            if (picture.height, picture.width) != (record.height, record.width):
                raise corrupt(
                    record,
                    f"is {picture.height}x{picture.width}, its manifest says "
                    f"{record.height}x{record.width}",
                )
            if modes is None:
                if picture.mode != "RGB":
                    return np.array(picture.convert("RGB"))
                return png.pixels(picture, content)
            if picture.mode not in modes:
                raise corrupt(record, f"has a label of mode {picture.mode}, wanted 8-bit ids")
            return png.pixels(picture, content)
    except (CorruptSample, MemoryError):
        raise
    except UnidentifiedImageError as cause:  # whose own text has an address that differs each time
        raise corrupt(record, f"is no {' or '.join(formats)}") from cause
    except Exception as cause:  # Pillow's parsers raise what they did not foresee, even assertions
        reason = str(cause) or type(cause).__name__
        raise corrupt(record, f"is no {' or '.join(formats)} ({reason})") from cause
