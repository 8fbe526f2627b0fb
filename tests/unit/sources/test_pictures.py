"""What is read of a picture's file, and one refusal for each way that a file goes wrong."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.sources.pictures import labelled, read_image, read_label, read_mask
from tests.unit.sources.conftest import SIZE, data_error, save, save_image

GRADIENT = np.arange(16 * 24 * 3, dtype=np.uint32).reshape(16, 24, 3).astype(np.uint8)
GREYS = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE)

READERS = [read_image, read_label, read_mask]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_what_its_content_says_whatever_its_name(path: Path, kind: str) -> None:
    save_image(path, 90, kind)

    image = read_image(path)
    assert (*SIZE, 3) == image.shape
    assert np.uint8 == image.dtype
    assert np.abs(image.astype(int) - 90).max() <= 2


def test_a_grey_or_palette_image_is_read_in_three_channels(path: Path) -> None:
    save(path, GREYS)
    assert (GREYS[..., None].repeat(3, axis=2) == read_image(path)).all()

    Image.fromarray(GREYS).convert("P").save(path)
    assert (*SIZE, 3) == read_image(path).shape


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_turned_as_viewers_show_it(path: Path, kind: str) -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    save(path, pixels, kind, exif=exif)

    upright = read_image(path)
    assert upright.shape == (32, 16, 3)
    assert upright[:12].mean() < 20
    assert upright[20:].mean() > 235


@pytest.mark.parametrize("reader", [read_label, read_mask])
def test_a_label_is_read_as_stored(path: Path, reader: Callable[[Path], object]) -> None:
    save(path, GREYS)

    assert (reader(path) == GREYS).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_label_is_read_as_its_indices(path: Path, bits: int) -> None:
    indices = GREYS % min(2**bits, 40)
    label = Image.fromarray(indices).convert("P")
    label.putdata(indices.ravel().tolist())
    label.putpalette([255 - i % 256 for i in range(3 * 2**bits)])
    label.save(path, bits=bits)

    assert (indices == read_label(path)).all()


def test_a_mask_in_colours_keeps_them(path: Path) -> None:
    save(path, GRADIENT)

    assert (read_mask(path) == GRADIENT).all()


def test_a_label_in_colours_is_refused(path: Path) -> None:
    save_image(path)

    expected = f"{path} has the pixel format RGB, wanted 8 bits a channel in L or P"
    assert data_error(read_label, path).startswith(expected)


@pytest.mark.parametrize("reader", [read_label, read_mask])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_label_that_was_compressed_with_loss_is_refused(
    path: Path, reader: Callable[[Path], object], kind: str
) -> None:
    save_image(path, kind=kind)

    assert data_error(reader, path).startswith(f"{path} is not a PNG file")


def test_another_format_is_refused(path: Path) -> None:
    save_image(path, kind="BMP")

    assert data_error(read_image, path).startswith(f"{path} is not a PNG, JPEG or WebP file")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_not_there_is_named(path: Path, reader: Callable[[Path], object]) -> None:
    assert data_error(reader, path).startswith(f"{path} is missing")


def png(size: tuple[int, int], bits: int, colour: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_a_channel_are_refused(
    path: Path, reader: Callable[[Path], object], colour: int, channels: int
) -> None:
    path.write_bytes(png((2, 1), 16, colour, bytes(1 + 2 * 2 * channels)))

    assert data_error(reader, path).startswith(f"{path} has the pixel format ")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_label_whose_values_would_be_stretched_is_refused(path: Path, bits: int) -> None:
    path.write_bytes(png((2, 1), bits, 0, b"\x00\x10"))

    assert data_error(read_label, path).startswith(f"{path} has the pixel format ")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(8001, 8000), (12_000, 8000), (60_000, 60_000)])
def test_a_huge_image_is_refused_by_its_header(path: Path, size: tuple[int, int]) -> None:
    path.write_bytes(png(size, 8, 2))

    assert data_error(read_image, path).startswith(f"{path} has more than 64 megapixels")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_off_image_is_refused(path: Path, kind: str, kept: float) -> None:
    save(path, GRADIENT, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])

    assert data_error(read_image, path).startswith(f"{path} is ")


@pytest.mark.parametrize("reader", [read_image, read_label])
def test_no_changed_byte_of_a_png_goes_unseen(path: Path, reader: Callable[[Path], object]) -> None:
    save(path, GREYS)
    content = path.read_bytes()

    # The last chunk, 12 bytes, holds nothing.
    for place in range(len(content) - 12):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])

        assert data_error(reader, path).startswith(f"{path} ")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # of Pillow, on damaged EXIF
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_a_picture_or_one_line(
    path: Path, kind: str, data: st.DataObject
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    save(path, GRADIENT, kind, exif=exif)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    try:
        said = f"{path} of shape {read_image(path).shape}"
    except DataError as error:
        said = str(error)
    assert said.startswith(f"{path} ")
    assert "\n" not in said


def test_image_and_label_of_different_sizes_are_refused(path: Path) -> None:
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    said = data_error(labelled, image, np.zeros((6, 7), dtype=np.uint8), path)

    assert said.startswith(f"{path} is 6x7, its image is 6x8")
