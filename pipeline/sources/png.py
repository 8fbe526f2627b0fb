"""PNG, written so that it is quick to write and to read, and read, whoever wrote it.

``encode`` predicts each row by the one above it, and libdeflate does the rest. Files of others are
read by libpng; of those with more than pixels in them Pillow says what they are and whether they
are taken at all. H height, W width.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import groupby, islice
from math import prod
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_codecs: Any = imagecodecs  # takes and gives any buffer, whatever its type hints say
_LEVEL = 1  # docs/decisions.md has the measurements
NONE, UP = 0, 2  # PNG's numbers of the filters that keep a row, and that take the one above
_PLAIN_FORMATS = ("RGB", "L")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")  # length and name; content and checksum follow
_LENGTH_BYTES, _NAME_BYTES = 4, 4
_CHECKSUM = struct.Struct(">I")
_SMALL_BYTES = 1 << 10
_SIZE = struct.Struct(">II")  # width and height, with which the first chunk begins
_HEADER = struct.Struct(">8sI4sIIBBBBB")  # signature and first chunk
_KINDS = {(): (8, 0, 0, 0, 0), (3,): (8, 2, 0, 0, 0)}  # depth, colours, ..., not interlaced
_CHANNELS = {kind: channels for channels, kind in _KINDS.items()}
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
    names = [name for name, _ in islice(groupby(name for name, _ in _chunks(content)), 4)]
    if names != [b"IHDR", b"IDAT", b"IEND"] or not (height and width):
        return None
    return (height, width, *channels)


def decode(content: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a PNG of 8 bits without palette, alpha and frames.

    Raises:
        OSError: the file is damaged.
    """
    if bare_shape(content) is not None:
        check(content)
    return by_libpng(content)


def check(content: bytes | memoryview) -> None:
    """Look at the checksums of all chunks; whoever decodes a bare file has to do so before.

    libpng stops at the last pixel. And what it fails at leaks the picture in imagecodecs.

    Raises:
        OSError: one is wrong.
    """
    if not all(_is_sound(content, part) for _, part in _chunks(content)):
        raise OSError("the checksum of a chunk is wrong")


def by_libpng(
    content: bytes | memoryview, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of a file whose checksums were looked at.

    Args:
        content: the file.
        out: where to put them, contiguous and of their shape, if not into new memory.

    Raises:
        OSError: the file is damaged.
    """
    try:
        decoded: NDArray[np.uint8] = _codecs.png_decode(content, out=out)
    except (imagecodecs.PngError, ValueError) as cause:
        raise OSError(str(cause)) from cause
    return decoded


def filtered_rows(content: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the rows that a bare file holds, as their filters left them.

    Args:
        content: the file.
        shape: that ``bare_shape`` has said of it.

    Returns:
        (H, 1 + W) or (H, 1 + 3 W), of each row its filter first. None if the file has its pixels
        in several chunks, which one of ``encode`` never has, or says something else than it holds.
    """
    parts = [part for _, part in islice(_chunks(content), 4)]
    if len(parts) != 3:
        return None
    height, *row = shape
    rows = np.empty((height, 1 + prod(row)), dtype=np.uint8)
    stream = content[parts[1].start + _NAME_BYTES : parts[1].stop]
    try:
        found = _codecs.deflate_decode(stream, out=rows.reshape(-1))
    except imagecodecs.DeflateError:
        return None
    return rows if len(found) == rows.size else None


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
    height, width, *_ = pixels.shape
    rows = pixels.reshape(height, -1)
    lines = np.empty((height, 1 + rows.shape[1]), dtype=np.uint8)
    lines[:, 0] = UP
    lines[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    header = _SIZE.pack(width, height) + bytes(_KINDS[pixels.shape[2:]])
    stream = _codecs.deflate_encode(lines, level=_LEVEL)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", stream), _END))


def besides_pixels(content: bytes) -> bytes:
    """Return the chunks of a PNG, but for those with its pixels."""
    return b"".join(content[part] for name, part in _chunks(content) if name != b"IDAT")


def _chunk(name: bytes, content: bytes) -> Iterator[bytes]:
    """Yield the parts of a chunk."""
    yield _CHUNK.pack(len(content), name)
    yield content
    yield _CHECKSUM.pack(_checksum(name + content))


def _chunks(content: bytes | memoryview) -> Iterator[tuple[bytes, slice]]:
    """Yield the name of each chunk, and where name and content lie, after which is its checksum."""
    position = len(_SIGNATURE)
    while position + _CHUNK.size <= len(content):
        length, name = _CHUNK.unpack_from(content, position)
        start = position + _LENGTH_BYTES
        end = start + _NAME_BYTES + length
        yield name, slice(start, end)
        position = end + _CHECKSUM.size


def _is_sound(content: bytes | memoryview, part: slice) -> bool:
    """Return whether a chunk has the checksum that it says."""
    said = content[part.stop : part.stop + _CHECKSUM.size]
    return bool(said == _CHECKSUM.pack(_checksum(content[part])))


def _checksum(content: bytes | memoryview) -> int:
    # Of little zlib's keeps the interpreter's lock, for which this thread might have to wait.
    crc32 = zlib.crc32 if len(content) < _SMALL_BYTES else _codecs.deflate_crc32
    found: int = crc32(content)
    return found


def _is_plain(picture: Any) -> bool:
    """Return whether libpng gives the same pixels: 8 bits, one still, neither palette nor alpha."""
    return (
        picture.format == "PNG"
        and [tile.args for tile in picture.tile] in ([name] for name in _PLAIN_FORMATS)
        and "transparency" not in picture.info
        and not picture.is_animated
    )
