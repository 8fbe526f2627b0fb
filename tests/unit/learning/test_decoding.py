"""Bytes from anywhere become a sample or one kind of error."""

import io
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pipeline.core.errors import CorruptSample
from pipeline.core.manifest import SampleRecord
from pipeline.learning import decoding
from pipeline.learning.decoding import (
    MAX_MEMBER_BYTES,
    MAX_PIXELS,
    Sample,
    check_limits,
    corrupt,
    decode,
)
from tests.unit.learning.stores import encoded, record_of

SIZE = (12, 16)
PIXELS = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
IDS = PIXELS[..., 0] % 5
RGB = Image.fromarray(PIXELS)
IMAGE, LABEL = encoded(RGB), encoded(Image.fromarray(IDS))
PNG_START = 8  # bytes before the first chunk

hostile = settings(deadline=None, max_examples=150)


def decoded(image: bytes = IMAGE, label: bytes = LABEL, size: tuple[int, int] = SIZE) -> Sample:
    """Decode members whose manifest fits them."""
    return decode(record_of(image, label, size), image, label)


def refusal(image: bytes = IMAGE, label: bytes = LABEL, size: tuple[int, int] = SIZE) -> str:
    """Return why members are refused; one line that names sample, shard and what to do."""
    with pytest.raises(CorruptSample) as caught:
        decoded(image, label, size)
    message = str(caught.value)
    assert re.fullmatch(r"sample 000 in gen/train-000000\.tar .*: preprocess again", message)
    return message


def reopened(content: bytes, mode: str = "RGB") -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert(mode))


# What is read


@pytest.mark.parametrize(
    "image",
    [IMAGE, encoded(RGB, "WEBP", lossless=True), encoded(RGB, "PNG", compress_level=0)],
    ids=["png", "lossless webp", "stored png"],
)
def test_a_lossless_picture_comes_back_as_it_was(image: bytes) -> None:
    np.testing.assert_array_equal(decoded(image).image_HWC, PIXELS)
    np.testing.assert_array_equal(decoded(image).label_HW, IDS)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(encoded(RGB, "JPEG"), id="jpeg"),
        pytest.param(encoded(RGB, "JPEG", progressive=True, quality=40), id="progressive jpeg"),
        pytest.param(encoded(RGB, "WEBP"), id="webp"),
        pytest.param(encoded(RGB.convert("L"), "JPEG"), id="grey jpeg"),
        pytest.param(encoded(RGB.convert("CMYK"), "JPEG"), id="cmyk jpeg"),
        pytest.param(encoded(RGB.convert("RGBA"), "WEBP"), id="webp with alpha"),
        pytest.param(encoded(RGB.convert("L")), id="grey png"),
        pytest.param(encoded(RGB.convert("LA")), id="grey png with alpha"),
        pytest.param(encoded(RGB.convert("1")), id="black and white png"),
        pytest.param(encoded(RGB.quantize(7)), id="palette png"),
        pytest.param(encoded(RGB.quantize(7), transparency=2), id="transparent palette png"),
        pytest.param(
            encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) << 8)), id="16-bit png"
        ),
    ],
)
def test_a_picture_of_any_format_and_mode_is_read_as_rgb_bytes(image: bytes) -> None:
    sample = decoded(image)

    assert sample.image_HWC.dtype == np.uint8
    np.testing.assert_array_equal(sample.image_HWC, reopened(image))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pixels_are_put_where_there_is_room_or_into_memory_of_their_own(kind: str) -> None:
    image = encoded(RGB, kind)
    room = Sample(np.zeros_like(PIXELS), np.zeros_like(IDS))

    sample = decode(record_of(image, LABEL, SIZE), image, LABEL, room=room)
    assert sample.label_HW is room.label_HW
    assert (sample.image_HWC is room.image_HWC) == (kind == "PNG")
    np.testing.assert_array_equal(sample.image_HWC, reopened(image))
    np.testing.assert_array_equal(sample.label_HW, IDS)


def test_a_palette_labels_ids_count_and_not_its_colours() -> None:
    picture = Image.fromarray(IDS).convert("L").convert("P")
    picture.putpalette([250, 10, 10, 90, 80, 70, 1, 2, 3, 4, 5, 6, 7, 8, 9])

    np.testing.assert_array_equal(decoded(label=encoded(picture)).label_HW, IDS)


def test_neither_part_of_a_sample_can_be_changed() -> None:
    for part in decoded():
        with pytest.raises(ValueError, match="read-only"):
            part[0, 0] = 0


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_bytes_may_come_as_a_view(kind: Callable[[bytes], bytes | memoryview]) -> None:
    sample = decode(record_of(IMAGE, LABEL, SIZE), kind(IMAGE), kind(LABEL))

    np.testing.assert_array_equal(sample.image_HWC, PIXELS)


# What is refused


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "PDF"])
def test_another_format_under_a_pictures_name_is_refused(kind: str) -> None:
    content = encoded(RGB, kind)

    assert "is no PNG or JPEG or WEBP" in refusal(image=content)
    assert "is no PNG" in refusal(label=content)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_label_in_a_format_that_changes_ids_is_refused(kind: str) -> None:
    assert "is no PNG" in refusal(label=encoded(Image.fromarray(IDS), kind))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_a_label_that_is_not_8_bit_ids_is_refused_by_its_mode(mode: str) -> None:
    wide = Image.fromarray(IDS.astype(np.uint16))
    label = encoded(wide if mode == "I;16" else RGB.convert(mode))

    assert f"has a label of mode {mode}, wanted 8-bit ids" in refusal(label=label)


class _Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    content = pickle.dumps(_Bomb(tmp_path / "run"))

    assert "is no PNG or JPEG or WEBP" in refusal(image=content)
    assert "is no PNG" in refusal(label=content)
    assert not (tmp_path / "run").exists()
    pickle.loads(content)
    assert (tmp_path / "run").exists()  # it would have told


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_that_claims(height: int, width: int) -> bytes:
    """Return a PNG whose header says a size, over next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_that_its_manifest_admits_is_refused() -> None:
    bomb, size = png_that_claims(60_000, 60_000), (60_000, 60_000)

    assert "is no PNG or JPEG or WEBP" in refusal(image=bomb, size=size)
    with pytest.raises(CorruptSample, match=r"sample 000 in .* has more than 64 megapixels"):
        check_limits(record_of(bomb, LABEL, size))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 11_000, 60_000])
def test_a_decompression_bomb_that_its_manifest_hides_is_refused(side: int) -> None:
    bomb = png_that_claims(side, side)

    for message in (refusal(image=bomb), refusal(label=bomb)):
        assert "its manifest says 12x16" in message or "is no PNG" in message


def test_a_text_that_unpacks_to_much_is_not_unpacked() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * (20 << 20), zip=True)

    assert "is no PNG or JPEG or WEBP" in refusal(image=encoded(RGB, pnginfo=notes))


def test_a_picture_of_another_size_is_refused_with_both_sizes() -> None:
    turned = RGB.rotate(90, expand=True)
    assert "is 16x12, its manifest says 12x16" in refusal(image=encoded(turned))
    tall = Image.fromarray(np.zeros((13, 16), dtype=np.uint8))
    assert "is 13x16, its manifest says 12x16" in refusal(label=encoded(tall))


def test_bytes_of_another_sha256_are_refused_before_they_are_looked_at() -> None:
    record = record_of(IMAGE, LABEL, SIZE)._replace(sha256="0" * 64)

    for image, label in ((IMAGE, LABEL), (b"", b""), (b"no picture", LABEL)):
        with pytest.raises(CorruptSample, match="is damaged: its sha256 differs"):
            decode(record, image, label)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_breaks_off_is_refused(kind: str) -> None:
    content = encoded(RGB, kind)

    for length in range(0, len(content) * 9 // 10, 7):
        assert "is no PNG or JPEG or WEBP" in refusal(image=content[:length])


def test_a_label_that_breaks_off_is_refused() -> None:
    for length in range(0, len(LABEL) * 3 // 4, 7):
        assert "is no PNG" in refusal(label=LABEL[:length])


def test_a_reason_is_the_same_each_time() -> None:
    """Or ranks that meet one sample would count two, and a training would not repeat."""
    contents = (b"no picture", IMAGE[:40], IMAGE[:200], encoded(RGB, "GIF"), b"")

    assert [refusal(image=c) for c in contents] == [refusal(image=c) for c in contents]


def test_no_memory_for_a_picture_is_not_its_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipping it would hide that the machine is too small."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding.bare_png, "decode", fail)
    with pytest.raises(MemoryError):
        decoded()


# Anything else


@hostile
@given(st.binary(max_size=400), st.sampled_from([b"", IMAGE[:PNG_START], b"\xff\xd8\xff", b"RIFF"]))
def test_random_bytes_are_a_corrupt_sample(content: bytes, start: bytes) -> None:
    for image, label in ((start + content, LABEL), (IMAGE, start + content)):
        with pytest.raises(CorruptSample):
            decoded(image, label)


SOUND = {
    "png": IMAGE,
    "palette": encoded(RGB.quantize(7), transparency=2),
    "grey": LABEL,
    "animated png": encoded(RGB, save_all=True, append_images=[RGB.rotate(90)]),
    "jpeg": encoded(RGB, "JPEG", dpi=(72, 72)),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "webp": encoded(RGB, "WEBP"),
    "lossless webp": encoded(RGB, "WEBP", lossless=True),
}


@st.composite
def harmed(draw: st.DrawFn) -> bytes:
    """Return a picture with bits flipped, and with checksums that know nothing of it."""
    content = bytearray(SOUND[draw(st.sampled_from(sorted(SOUND)))])
    last = 8 * len(content) - 1
    for bit in draw(st.lists(st.integers(0, last), min_size=1, max_size=6)):
        content[bit // 8] ^= 1 << bit % 8
    harmed = bytes(content)[: draw(st.none() | st.integers(0, len(content)))]
    return with_checksums(harmed) if draw(st.booleans()) else harmed


def with_checksums(content: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums of what is in them; others as they are."""
    if not content.startswith(IMAGE[:PNG_START]):
        return content
    out, start = content[:PNG_START], PNG_START
    while start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4])
        if end + 4 > len(content):
            break
        out += content[start:end] + struct.pack(">I", zlib.crc32(content[start + 4 : end]))
        start = end + 4
    return out + content[start:]


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it is given
@hostile
@given(harmed())
def test_flipped_bits_are_a_sample_or_a_corrupt_one(content: bytes) -> None:
    for image, label in ((content, LABEL), (IMAGE, content)):
        with suppress(CorruptSample):
            sample = decoded(image, label)
            assert sample.image_HWC.shape == (*SIZE, 3)
            assert sample.label_HW.shape == SIZE


def short_header() -> bytes:
    """Return a PNG with a sound checksum over a header that is too short."""
    return IMAGE[:PNG_START] + png_chunk(b"IHDR", bytes(5)) + IMAGE[PNG_START + 25 :]


def transparency_without_colours() -> bytes:
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, 3, 0, 0, 0)
    rows = zlib.compress(bytes((SIZE[1] + 1) * SIZE[0]))
    return (
        IMAGE[:PNG_START]
        + png_chunk(b"IHDR", header)
        + png_chunk(b"tRNS", b"\xff\x00")
        + png_chunk(b"IDAT", rows)
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content", [short_header(), transparency_without_colours()], ids=["header", "palette"]
)
def test_what_pillow_itself_does_not_foresee_is_a_corrupt_sample(content: bytes) -> None:
    """For these it raises a ValueError and fails an assertion."""
    assert re.search(r"is no PNG or JPEG or WEBP \(\w", refusal(image=content))


# Limits


def changed(**fields: int) -> SampleRecord:
    return record_of(IMAGE, LABEL, SIZE)._replace(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"image_bytes": MAX_MEMBER_BYTES},
        {"label_bytes": MAX_MEMBER_BYTES},
        {"height": MAX_PIXELS // 8000, "width": 8000},
        {"image_offset": 0, "label_offset": 1 << 40},
    ],
)
def test_what_is_within_the_limits_passes(fields: dict[str, int]) -> None:
    check_limits(changed(**fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"image_bytes": MAX_MEMBER_BYTES + 1}, "has a member of more than 64 MiB"),
        ({"label_bytes": 1 << 60}, "has a member of more than 64 MiB"),
        ({"height": MAX_PIXELS // 8000 + 1, "width": 8000}, "has more than 64 megapixels"),
        ({"height": 1, "width": MAX_PIXELS + 1}, "has more than 64 megapixels"),
        ({"image_offset": -1}, "has a negative offset or length"),
        ({"image_bytes": -1}, "has a negative offset or length"),
        ({"label_offset": -1}, "has a negative offset or length"),
        ({"label_bytes": -1}, "has a negative offset or length"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_name(fields: dict[str, int], reason: str) -> None:
    with pytest.raises(CorruptSample, match=rf"^sample 000 in gen/train-000000\.tar {reason}"):
        check_limits(changed(**fields))


def test_a_corrupt_sample_is_told_with_what_to_do() -> None:
    assert str(corrupt(changed(), "is odd")) == (
        "sample 000 in gen/train-000000.tar is odd: preprocess again"
    )
