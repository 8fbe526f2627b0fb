"""Anybody's pictures: read as they are seen, or refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.sources.pictures import read_image

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10


@pytest.mark.parametrize("name", ["x.png", "x.webp"])
def test_a_picture_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name, lossless=True)

    np.testing.assert_array_equal(read_image(tmp_path / name), PIXELS)


def test_a_grey_picture_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "x.png")

    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), PIXELS[..., :1].repeat(3, axis=2))


def test_a_photograph_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(PIXELS).save(tmp_path / "x.png", exif=exif)

    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(PIXELS, -1))


def truncated(path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])


def huge(path: Path) -> None:
    """Write a PNG whose header promises more than anyone decodes."""
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def deep(path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(path, format="PNG")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.write_text("hello"), "x.png is no"),
        (lambda path: Image.fromarray(PIXELS).save(path, format="GIF"), "x.png is no"),
        (truncated, "x.png"),
        (huge, "more than 64 megapixels"),
        (deep, "pixel"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, write: object, said: str) -> None:
    assert callable(write)
    write(tmp_path / "x.png")

    with pytest.raises(DataError, match=said):
        read_image(tmp_path / "x.png")
