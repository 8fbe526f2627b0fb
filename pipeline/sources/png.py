"""PNG through libpng, which decodes and encodes about twice as fast as Pillow does.

Pillow keeps the say over what a file is and whether it is taken at all; only the pixels come from
here. H height, W width.
"""

import struct
from collections.abc import Iterator
from typing import Any, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Filters that are chosen fast and runs in place of a search for repeats: half the time of Pillow's
# level 2, and fewer bytes than its level 6. docs/decisions.md has the measurements.
_HOW = {
    "level": 1,
    "filter": imagecodecs.PNG.FILTER.FAST,
    "strategy": imagecodecs.PNG.STRATEGY.RLE,
}
_PLAIN_FORMATS = ("RGB", "L")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")  # length and name; content and checksum follow
_CHECKSUM_BYTES = 4
_HEADER = struct.Struct(">8sI4sIIBBBBB")  # signature and first chunk
_CHANNELS = {(8, 0, 0, 0, 0): (), (8, 2, 0, 0, 0): (3,)}  # by depth, colours, ..., not interlaced
_END = b"\0\0\0\0IEND\xaeB`\x82"


def bare_shape(content: bytes | memoryview) -> tuple[int, ...] | None:
    """Return the shape of a PNG that is header and pixels and nothing else; None of all others.

    It is (H, W) or (H, W, 3). Such a file leaves nothing for Pillow to see to, and ``decode``
    checks all of it.
    """
    if len(content) < _HEADER.size or content[-len(_END) :] != _END:
        return None
    signature, length, name, width, height, *kind = _HEADER.unpack_from(content)
    channels = _CHANNELS.get(tuple(kind))
    if (signature, length, name) != (_SIGNATURE, 13, b"IHDR") or channels is None:
        return None
    names = [name for name, _ in _chunks(content)]
    if names != [b"IHDR", *[b"IDAT"] * (len(names) - 2), b"IEND"]:
        return None
    return (height, width, *channels)


def decode(content: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a PNG of 8 bits without palette, alpha and frames.

    Raises:
        OSError: the file is damaged.
    """
    try:
        # Any buffer will do, whatever its type hints say.
        decoded: NDArray[np.uint8] = imagecodecs.png_decode(cast(bytes, content))
    except imagecodecs.PngError as cause:
        raise OSError(str(cause)) from cause
    return decoded


def pixels(picture: Image.Image, content: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a picture that Pillow has opened, (H, W) or (H, W, 3), as it would.

    Args:
        picture: opened, not loaded.
        content: the file it was opened from.

    Raises:
        OSError: the file is damaged.
    """
    return decode(content) if _is_plain(picture) else np.array(picture)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, (H, W) or (H, W, 3), as a PNG file; the same ones always as the same bytes."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), **_HOW))


def besides_pixels(content: bytes) -> bytes:
    """Return the chunks of a PNG, but for those with its pixels."""
    return b"".join(content[part] for name, part in _chunks(content) if name != b"IDAT")


def _chunks(content: bytes | memoryview) -> Iterator[tuple[bytes, slice]]:
    """Yield the name of each chunk, and where it lies, its checksum left out."""
    position = len(_SIGNATURE)
    while position + _CHUNK.size <= len(content):
        length, name = _CHUNK.unpack_from(content, position)
        end = position + _CHUNK.size + length
        yield name, slice(position, end)
        position = end + _CHECKSUM_BYTES


def _is_plain(picture: Any) -> bool:
    """Return whether libpng gives the same pixels: 8 bits, one still, neither palette nor alpha."""
    return (
        picture.format == "PNG"
        and [tile.args for tile in picture.tile] in ([name] for name in _PLAIN_FORMATS)
        and "transparency" not in picture.info
        and not picture.is_animated
    )
