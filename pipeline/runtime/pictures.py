"""Pictures and label maps: resized, encoded, decoded without trust, and counted.

C channels, H height, W width.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import DataError
from pipeline.core.layout import Layout
from pipeline.core.manifest import MAX_PIXELS, ClassTable
from pipeline.sources import png
from pipeline.sources.source import LabelledImage

# Squares of up to 256 rows add up exactly in the 24 bits of a float32, and so few stay in a cache.
_ROWS_AT_ONCE = 64
_COUNTERS = 4  # of pixels side by side


@dataclass(frozen=True)
class ChannelSums:
    """Sums over pixels and over their squares, per RGB channel; whole numbers, so exact."""

    pixels: int = 0
    sums: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)

    @classmethod
    def of(cls, image_HWC: NDArray[np.uint8]) -> "ChannelSums":
        """Return the sums over one RGB picture."""
        height, width, num_channels = image_HWC.shape
        lines, totals = image_HWC.reshape(height, -1), np.zeros((2, width * num_channels))
        for first in range(0, height, _ROWS_AT_ONCE):
            rows = lines[first : first + _ROWS_AT_ONCE].astype(np.float32)
            ones = np.ones(len(rows), dtype=np.float32)
            totals[0] += ones @ rows
            totals[1] += ones @ np.square(rows, out=rows)
        sums, squares = totals.reshape(2, width, num_channels).sum(axis=1).astype(int).tolist()
        return cls(height * width, tuple(sums), tuple(squares))

    def __add__(self, other: "ChannelSums") -> "ChannelSums":
        return ChannelSums(
            self.pixels + other.pixels,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )


def resized(sample: LabelledImage, size: tuple[int, int] | None) -> LabelledImage:
    """Return picture and label at a size (height, width): averaged, and the nearest label."""
    if size is None or size == sample.label_HW.shape:
        return sample
    height, width = size
    image, label = Image.fromarray(sample.image_HWC), Image.fromarray(sample.label_HW)
    return LabelledImage(
        np.asarray(image.resize((width, height), Image.Resampling.BOX)),
        np.asarray(label.resize((width, height), Image.Resampling.NEAREST)),
    )


def encode_image(image_HWC: NDArray[np.uint8], layout: Layout) -> bytes:
    """Return the picture in the layout's encoding."""
    if layout.encoding == "png":
        return png.encode(image_HWC)
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, format=layout.encoding, quality=layout.quality)
    return buffer.getvalue()


def decode_image(content: bytes, where: str) -> tuple[NDArray[np.uint8], str]:
    """Return an RGB picture, (H, W, 3), and its encoding.

    Args:
        content: PNG, JPEG or WebP.
        where: what it is, for messages.

    Raises:
        DataError: it is none of these, damaged, too large, or not RGB.
    """
    return _decode(content, where, formats=("PNG", "JPEG", "WEBP"), modes=("RGB",))


def decode_label(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return a label map of 8-bit ids, (H, W); the indices of one with a palette.

    Raises:
        DataError: it is no PNG, damaged, too large, or has another pixel format.
    """
    return _decode(content, where, formats=("PNG",), modes=("L", "P"))[0]


def count_classes(label_HW: NDArray[np.uint8], classes: ClassTable, where: str) -> tuple[int, ...]:
    """Return the pixels of each class, the ignored ones last.

    Raises:
        DataError: a label is neither a class id nor the ignored value.
    """
    known = (*range(classes.num_classes), classes.ignore_index)
    counts = _counts(label_HW, known)
    if sum(counts) != label_HW.size:
        unknown = np.setdiff1d(label_HW, known)
        raise DataError(
            f"{where} holds the label {unknown[0]}, wanted 0..{classes.num_classes - 1}, or "
            f"{classes.ignore_index} for no class: map its labels to the classes"
        )
    return counts


def _counts(label_HW: NDArray[np.uint8], values: Iterable[int]) -> tuple[int, ...]:
    """Return how many pixels have each of the values.

    Four pixels side by side have a counter each: of the same one a pixel waits for the pixel
    before it, and most of a label's are the same.
    """
    pixels = label_HW.reshape(-1)
    quads = len(pixels) // _COUNTERS
    picture = Image.frombuffer("RGBA", (quads, 1), pixels, "raw", "RGBA", 0, 1)
    by_counter = picture.histogram()
    left = pixels[quads * _COUNTERS :].tolist()
    return tuple(sum(by_counter[value::256]) + left.count(value) for value in values)


def _decode(
    content: bytes, where: str, formats: tuple[str, ...], modes: tuple[str, ...]
) -> tuple[NDArray[np.uint8], str]:
    try:
        with Image.open(io.BytesIO(content), formats=formats) as header:
            if header.width * header.height > MAX_PIXELS:
                raise DataError(f"{where} has more than {MAX_PIXELS // 10**6} megapixels: refused")
            if header.mode not in modes:
                raise DataError(
                    f"{where} has the pixel format {header.mode}, wanted {' or '.join(modes)}: "
                    "convert it"
                )
            encoding = str(header.format).lower()
            header.verify()  # decoding a PNG does not look at its checksums
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            return np.asarray(picture), encoding
    except UnidentifiedImageError as cause:
        raise DataError(f"{where} is no {' or '.join(formats)}: encode it again") from cause
    # IndexError and SyntaxError: what Pillow lets out on some damaged chunks.
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, IndexError) as cause:
        raise DataError(f"{where} is damaged ({cause}): encode it again") from cause
