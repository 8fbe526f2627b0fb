"""PNG through libpng, which decodes and encodes about twice as fast as Pillow does.

Pillow keeps the say over what a file is and whether it is taken at all; only the pixels come from
here. H height, W width.
"""

import struct
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
_SIGNATURE_BYTES = 8
_CHUNK = struct.Struct(">I4s")  # length and name; content and checksum follow
_CHECKSUM_BYTES = 4
_BARE = len("....IHDR") + 13 + len("....IEND")  # what is besides the pixels at the least
_END = b"\0\0\0\0IEND\xaeB`\x82"


def pixels(picture: Image.Image, content: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a picture that Pillow has opened, (H, W) or (H, W, 3), as it would.

    Args:
        picture: opened, not loaded.
        content: the file it was opened from.

    Raises:
        OSError: the file is damaged.
    """
    if not _is_plain(picture):
        return np.array(picture)
    try:
        # Any buffer will do, whatever its type hints say.
        decoded: NDArray[np.uint8] = imagecodecs.png_decode(cast(bytes, content))
    except imagecodecs.PngError as cause:
        raise OSError(str(cause)) from cause
    return decoded


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, (H, W) or (H, W, 3), as a PNG file; the same ones always as the same bytes."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), **_HOW))


def is_bare(picture: Image.Image, content: bytes) -> bool:
    """Return whether libpng alone does: it checks header and pixels, and there is nothing else.

    Args:
        picture: as for ``pixels``.
        content: likewise.
    """
    return (
        _is_plain(picture) and content.endswith(_END) and len(besides_pixels(content)) == _BARE
    )


def besides_pixels(content: bytes) -> bytes:
    """Return what the chunks of a sound PNG hold, but for those with its pixels."""
    pieces = []
    position = _SIGNATURE_BYTES
    while position < len(content) - _CHUNK.size:
        length, name = _CHUNK.unpack_from(content, position)
        end = position + _CHUNK.size + length
        if name != b"IDAT":
            pieces.append(content[position:end])
        position = end + _CHECKSUM_BYTES
    return b"".join(pieces)


def _is_plain(picture: Any) -> bool:
    """Return whether libpng gives the same pixels: 8 bits, one still, neither palette nor alpha."""
    return (
        picture.format == "PNG"
        and [tile.args for tile in picture.tile] in ([name] for name in _PLAIN_FORMATS)
        and "transparency" not in picture.info
        and not picture.is_animated
    )
