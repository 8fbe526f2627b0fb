"""Bare PNGs: our own by libdeflate and a loop, others by libpng, damaged ones by none."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from pipeline.learning import bare_png
from pipeline.sources import png

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def decode(content: bytes, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    shape = png.bare_shape(content)
    if shape is None:
        raise OSError("not bare")
    return bare_png.decode(content, shape, out)


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture)


def saved(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def grey(width: int, height: int, *streams: bytes, interlaced: int = 0) -> bytes:
    """A PNG of 8 bits of grey whose checksums are right, whatever is in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *((b"IDAT", stream) for stream in streams), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def rows(*filters: int) -> bytes:
    """The stream of as many rows, two pixels of 1 in each as its filter leaves them."""
    return zlib.compress(b"".join(bytes([filter_, 1, 1]) for filter_ in filters))


UP = rows(2, 2, 2)


@pytest.fixture
def no_libpng(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(content: bytes, out: None) -> None:
        raise AssertionError("libpng was asked")

    monkeypatch.setattr(png.imagecodecs, "png_decode", refuse)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([(), (3,)]),
    data=st.data(),
)
def test_what_is_encoded_is_decoded(
    size: tuple[int, int], channels: tuple[int, ...], data: st.DataObject
) -> None:
    pixels = data.draw(arrays.arrays(np.uint8, (*size, *channels)))

    assert np.array_equal(pixels, decode(png.encode(pixels)))


@pytest.mark.usefixtures("no_libpng")
def test_what_is_encoded_here_does_not_need_libpng() -> None:
    assert np.array_equal(NOISE, decode(png.encode(NOISE)))
    with pytest.raises(AssertionError):
        decode(saved(NOISE))


@pytest.mark.usefixtures("no_libpng")
@pytest.mark.parametrize(
    ("filters", "pixels"),
    [((2, 2, 2), [1, 2, 3]), ((0, 2, 2, 0, 2), [1, 2, 3, 1, 2]), ((2, 0, 0), [1, 1, 1])],
)
def test_rows_are_as_they_are_or_added_to_the_one_above(
    filters: tuple[int, ...], pixels: list[int]
) -> None:
    """Shards of layout 5 have rows of both kinds."""
    content = grey(2, len(filters), rows(*filters))

    assert decode(content).tolist() == by_pillow(content).tolist() == [[p, p] for p in pixels]


@pytest.mark.parametrize(
    "content",
    [
        grey(2, 3, rows(2, 1, 2)),  # the second row adds from the left
        grey(2, 3, rows(2, 2, 4)),
        grey(2, 3, UP[:5], UP[5:]),
        grey(2, 3, UP, b""),
    ],
)
def test_a_bare_file_of_others_has_the_pixels_that_pillow_reads(content: bytes) -> None:
    assert np.array_equal(by_pillow(content), decode(content))


@pytest.mark.parametrize("decode", [decode, png.decode])
@pytest.mark.parametrize(
    "content",
    [
        grey(2, 4, UP),  # a row is missing
        grey(2, 2, zlib.compress(b"")),
        grey(2, 3, UP[:-1] + b"x"),  # another checksum of the pixels
        grey(2, 3, b"no stream"),
        grey(2, 3, rows(2, 9, 2)),  # there is no such filter
        grey(2, 3),
        grey(0, 3, zlib.compress(bytes([2, 2, 2]))),
        grey(2, 0, zlib.compress(b"")),
        grey(2, 3, UP, b"")[:-13] + b"x" + grey(2, 3, UP, b"")[-12:],  # of a chunk too many
    ],
)
def test_a_file_that_lies_of_its_pixels_is_an_error(
    decode: Callable[[bytes], object], content: bytes
) -> None:
    with pytest.raises(OSError, match=r"\w"):
        decode(content)


@pytest.mark.parametrize("decode", [decode, png.decode])
@pytest.mark.parametrize("pixels", [NOISE, NOISE[..., 0]])
def test_a_bare_file_is_known_by_its_shape_and_broken_anywhere_it_is_no_picture(
    decode: Callable[[bytes], NDArray[np.uint8]], pixels: NDArray[np.uint8]
) -> None:
    content = png.encode(pixels)

    assert png.bare_shape(content) == decode(content).shape == pixels.shape
    for place in range(len(content)):
        flipped = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
        assert png.bare_shape(content[:place]) is None
        if png.bare_shape(flipped) is not None:
            with pytest.raises(OSError, match=r"\w"):
                decode(flipped)


@pytest.mark.parametrize("content", [png.encode(NOISE), saved(NOISE)])
def test_pixels_are_put_where_they_are_wanted(content: bytes) -> None:
    places = np.zeros((3, *NOISE.shape), dtype=np.uint8)
    place = places[1]

    assert decode(content, place) is place
    assert np.array_equal(places[1], NOISE)
    assert not places[::2].any()


def test_a_file_with_rows_in_another_order_is_not_bare() -> None:
    assert png.bare_shape(grey(2, 3, UP, interlaced=1)) is None
