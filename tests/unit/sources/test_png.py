"""Our pixels are Pillow's pixels, for every kind of PNG."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pipeline.sources import png

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def saved(picture: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", **how)
    return buffer.getvalue()


def read(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return png.pixels(picture, content)


def read_by_pillow(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, channels=st.sampled_from([(), (3,)]), data=st.data())
def test_what_is_encoded_is_decoded_by_both(
    size: tuple[int, int], channels: tuple[int, ...], data: st.DataObject
) -> None:
    pixels = data.draw(arrays.arrays(np.uint8, (*size, *channels)))
    content = png.encode(pixels)

    assert np.array_equal(pixels, read(content))
    assert np.array_equal(pixels, read_by_pillow(content))


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_png_has_the_pixels_that_pillow_reads(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise).convert(mode))

    assert np.array_equal(read_by_pillow(content), read(content))


@pytest.mark.parametrize("chunk", [(b"gAMA", b"\0\0\x20\0"), (b"sBIT", b"\5\6\5")])
def test_chunks_that_speak_of_colours_change_none(chunk: tuple[bytes, bytes]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8))
    info = PngImagePlugin.PngInfo()
    info.add(*chunk)

    assert np.array_equal(np.asarray(noise), read(saved(noise, pnginfo=info)))


def test_a_transparent_colour_stays_a_colour_and_only_the_first_of_many_pictures_is_read() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]

    assert np.array_equal(np.asarray(frames[0]), read(saved(frames[0], transparency=(255, 0, 0))))
    animated = saved(frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(np.asarray(frames[0]), read(animated))


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_damaged_file_is_an_error(cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = png.encode(noise)
    place = int(len(content) * cut)
    with pytest.raises(OSError, match=r"\w"):
        read(content[:place])
    flipped = bytes([content[place] ^ 255])
    with pytest.raises(OSError, match="checksum"):
        read(content[:place] + flipped + content[place + 1 :])


@pytest.mark.parametrize("turned", [np.flipud, np.transpose, np.asfortranarray])
def test_pixels_may_lie_in_memory_as_they_like(turned: Callable[[Any], Any]) -> None:
    label_HW = turned(NOISE[..., 0])

    decoded = png.decode(memoryview(png.encode(label_HW)))
    assert np.array_equal(label_HW, decoded)
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "I;16"])
def test_a_file_with_other_pixels_is_not_bare(mode: str) -> None:
    assert png.bare_shape(saved(Image.fromarray(NOISE).convert(mode))) is None


def test_a_file_that_says_more_than_its_pixels_is_not_bare() -> None:
    picture, exif, text = Image.fromarray(NOISE), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    text.add(b"tEXt", b"any\0thing", after_idat=True)

    assert png.bare_shape(saved(picture)) == NOISE.shape
    assert png.bare_shape(saved(picture, exif=exif)) is None
    assert png.bare_shape(saved(picture, pnginfo=text)) is None
    assert png.bare_shape(saved(picture, transparency=(1, 2, 3))) is None
    assert png.bare_shape(saved(picture, save_all=True, append_images=[picture])) is None
    assert png.besides_pixels(saved(picture, pnginfo=text)).count(b"thing") == 1
