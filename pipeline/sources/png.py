"""PNG, written so that it is quick to read: two and a half times as quick as libpng reads a PNG.

``encode`` predicts rows from those above them, in bands whose first rows are stored as they are:
the second rows of all bands are added up again at once, then the third ones. libdeflate does the
rest. PNGs of others are read by libpng. Of files with more than pixels in them Pillow says what
they are and whether they are taken at all. H height, W width.
"""

import struct
from collections.abc import Iterator
from itertools import groupby, islice
from math import isqrt, prod
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_codecs: Any = imagecodecs  # takes and gives any buffer, whatever its type hints say
_LEVEL = 1  # docs/decisions.md has the measurements
_NONE, _UP = 0, 2  # PNG's numbers of the filters that keep a row, and that take the one above
_PLAIN_FORMATS = ("RGB", "L")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")  # length and name; content and checksum follow
_LENGTH_BYTES, _NAME_BYTES = 4, 4
_CHECKSUM = struct.Struct(">I")
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


def decode(content: bytes | memoryview, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the pixels of a PNG of 8 bits without palette, alpha and frames.

    Args:
        content: the file.
        out: where to put them, contiguous and of their shape, if not into new memory.

    Raises:
        OSError: the file is damaged.
    """
    if (shape := bare_shape(content)) is not None:
        return decode_bare(content, shape, out)
    return _decode_by_libpng(content, out)


def decode_bare(
    content: bytes | memoryview, shape: tuple[int, ...], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of a PNG of which ``bare_shape`` has said a shape; see ``decode``."""
    # libpng stops at the last pixel. And what it fails at leaks the picture in imagecodecs.
    if not all(_is_sound(content, part) for _, part in _chunks(content)):
        raise OSError("the checksum of a chunk is wrong")
    if (quickly := _decode_own(content, shape, out)) is not None:
        return quickly
    return _decode_by_libpng(content, out)


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
    lines[:, 0] = _filters(height)
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    lines[:: isqrt(height), 1:] = rows[:: isqrt(height)]
    header = _SIZE.pack(width, height) + bytes(_KINDS[pixels.shape[2:]])
    stream = _codecs.deflate_encode(lines, level=_LEVEL)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", stream), _END))


def besides_pixels(content: bytes) -> bytes:
    """Return the chunks of a PNG, but for those with its pixels."""
    return b"".join(content[part] for name, part in _chunks(content) if name != b"IDAT")


def _decode_own(
    content: bytes | memoryview, shape: tuple[int, ...], out: NDArray[np.uint8] | None
) -> NDArray[np.uint8] | None:
    """Return the pixels of a bare file that is as ``encode`` makes them; None of others."""
    parts = [part for _, part in islice(_chunks(content), 4)]
    if len(parts) != 3:
        return None
    height, *row = shape
    lines = np.empty((height, 1 + prod(row)), dtype=np.uint8)
    stream = content[parts[1].start + _NAME_BYTES : parts[1].stop]
    try:
        found = _codecs.deflate_decode(stream, out=lines.reshape(-1))
    except imagecodecs.DeflateError:
        return None
    if len(found) != lines.size or np.any(lines[:, 0] != _filters(height)):
        return None
    if out is None:
        out = np.empty(shape, dtype=np.uint8)
    _add_up(lines[:, 1:], out.reshape(height, -1))
    return out


def _decode_by_libpng(
    content: bytes | memoryview, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    try:
        decoded: NDArray[np.uint8] = _codecs.png_decode(content, out=out)
    except (imagecodecs.PngError, ValueError) as cause:
        raise OSError(str(cause)) from cause
    return decoded


def _filters(height: int) -> NDArray[np.uint8]:
    """Return the filter of each row: of bands of sqrt(H) rows only the first ones have none.

    So ``_add_up`` calls numpy sqrt(H) times, not H: each call lets go of the interpreter's lock,
    and other threads want it.
    """
    filters = np.full(height, _UP, dtype=np.uint8)
    filters[:: isqrt(height)] = _NONE
    return filters


def _add_up(rows: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Make each row of ``out`` the sum of a row and all above it in its band."""
    band = isqrt(len(rows))
    out[::band] = rows[::band]
    for row in range(1, band):
        lower = rows[row::band]
        np.add(lower, out[row - 1 :: band][: len(lower)], out=out[row::band])


def _chunk(name: bytes, content: bytes) -> Iterator[bytes]:
    """Yield the parts of a chunk."""
    yield _CHUNK.pack(len(content), name)
    yield content
    yield _CHECKSUM.pack(_codecs.deflate_crc32(name + content))


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
    return bool(said == _CHECKSUM.pack(_codecs.deflate_crc32(content[part])))


def _is_plain(picture: Any) -> bool:
    """Return whether libpng gives the same pixels: 8 bits, one still, neither palette nor alpha."""
    return (
        picture.format == "PNG"
        and [tile.args for tile in picture.tile] in ([name] for name in _PLAIN_FORMATS)
        and "transparency" not in picture.info
        and not picture.is_animated
    )
