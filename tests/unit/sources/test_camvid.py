"""CamVid's folder layout, and one refusal for each way a copy of it goes wrong."""

import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.sources.camvid import CAMVID_CLASSES, CamVid, CamVidClass

REAL_ROOT = Path(__file__).parents[4] / "shared" / "data" / "CamVid"

SIZE = (6, 8)


def save_png(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")


def save_pair(root: Path, split: str, key: str, shade: int = 90) -> None:
    save_png(root / split / f"{key}.png", np.full((*SIZE, 3), shade, dtype=np.uint8))
    label_HW = (np.arange(SIZE[0] * SIZE[1], dtype=np.uint8) % 12).reshape(SIZE)
    save_png(root / f"{split}annot" / f"{key}.png", label_HW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, keys in {"train": ("b", "a", "c"), "val": ("d",)}.items():
        for key in keys:
            save_pair(tmp_path, split, key)
    return tmp_path


def keys_error(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        CamVid(root).keys()
    return one_line(caught.value)


def read_error(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        CamVid(root).read("train", "a")
    return one_line(caught.value)


def one_line(error: DataError) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_keys_are_sorted_and_test_is_optional(root: Path) -> None:
    assert CamVid(root).keys() == {"train": ("a", "b", "c"), "val": ("d",)}


def test_the_test_split_is_found_when_it_is_there(root: Path) -> None:
    save_pair(root, "test", "t")

    assert CamVid(root).keys()["test"] == ("t",)


def test_a_sample_is_read_as_stored(root: Path) -> None:
    sample = CamVid(root).read("train", "a")

    assert (*SIZE, 3) == sample.image_HWC.shape
    assert {90} == set(sample.image_HWC.ravel().tolist())
    assert list(range(12)) == np.unique(sample.label_HW).tolist()
    assert np.uint8 == sample.image_HWC.dtype == sample.label_HW.dtype


def test_a_palette_label_is_read_as_its_indices(root: Path) -> None:
    label = Image.open(root / "trainannot" / "a.png")
    expected = np.array(label)
    label.putpalette([255 - i for i in range(36)])
    label.save(root / "trainannot" / "a.png")

    assert (expected == CamVid(root).read("train", "a").label_HW).all()


def test_hidden_files_are_left_out(root: Path) -> None:
    (root / "train" / "._a.png").write_bytes(b"left by a file manager")

    assert CamVid(root).keys()["train"] == ("a", "b", "c")


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    assert keys_error(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'} is not a folder")


@pytest.mark.parametrize("missing", ["train", "trainannot", "val", "valannot"])
def test_a_missing_folder_is_named(root: Path, missing: str) -> None:
    (root / missing).rename(root / "elsewhere")

    assert keys_error(root).startswith(f"{root} has no folder {missing}/")


def test_half_a_test_split_is_refused(root: Path) -> None:
    save_pair(root, "test", "t")
    (root / "testannot").rename(root / "elsewhere")

    assert "has no folder testannot/" in keys_error(root)


def test_an_empty_split_is_refused(root: Path) -> None:
    for folder in ("val", "valannot"):
        (root / folder / "d.png").unlink()

    assert "holds no .png file" in keys_error(root)


def test_images_without_a_label_are_counted_and_the_first_is_named(root: Path) -> None:
    for key in ("b", "c"):
        (root / "trainannot" / f"{key}.png").unlink()

    expected = "2 of 3 images in train/ have no label in trainannot/ (first: b.png)"
    assert keys_error(root).startswith(expected)


def test_a_label_without_an_image_is_named(root: Path) -> None:
    (root / "train" / "c.png").unlink()

    expected = "1 of 3 labels in trainannot/ have no image in train/ (first: c.png)"
    assert keys_error(root).startswith(expected)


@pytest.mark.parametrize("folder", ["train", "trainannot"])
@pytest.mark.parametrize("kept", [0, 20, 60])
def test_a_cut_off_png_is_refused(root: Path, folder: str, kept: int) -> None:
    path = root / folder / "a.png"
    path.write_bytes(path.read_bytes()[:kept])

    assert read_error(root).startswith(f"{path} is ")


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_no_changed_byte_goes_unseen(root: Path, folder: str) -> None:
    path = root / folder / "a.png"
    content = path.read_bytes()

    # The last chunk, 12 bytes, holds nothing.
    for place in range(len(content) - 12):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])

        assert read_error(root).startswith(f"{path} ")


def test_another_format_under_the_name_of_a_png_is_refused(root: Path) -> None:
    path = root / "train" / "a.png"
    Image.open(path).save(path, format="BMP")

    assert read_error(root).startswith(f"{path} is not a PNG file")


def test_a_file_that_went_away_is_named(root: Path) -> None:
    (root / "train" / "a.png").unlink()

    assert read_error(root).startswith(f"{root / 'train' / 'a.png'} is missing")


def test_image_and_label_of_different_sizes_are_refused(root: Path) -> None:
    path = root / "trainannot" / "a.png"
    save_png(path, np.zeros((6, 7), dtype=np.uint8))

    assert read_error(root).startswith(f"{path} is 6x7, its image is 6x8")


def test_a_label_value_beyond_11_is_refused(root: Path) -> None:
    path = root / "trainannot" / "a.png"
    save_png(path, np.full(SIZE, 12, dtype=np.uint8))

    assert read_error(root).startswith(f"{path} holds the label 12, wanted 0..11")


def test_a_label_in_colours_is_refused(root: Path) -> None:
    path = root / "trainannot" / "a.png"
    save_png(path, np.zeros((*SIZE, 3), dtype=np.uint8))

    assert re.match(rf"{re.escape(str(path))} has the pixel format RGB", read_error(root))


def test_sixteen_bits_a_channel_are_refused(root: Path) -> None:
    path = root / "train" / "a.png"
    save_png(path, np.full(SIZE, 40_000, dtype=np.uint16))

    assert read_error(root).startswith(f"{path} has the pixel format I;16")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(8001, 8000), (12_000, 8000), (60_000, 60_000)])
def test_a_huge_image_is_refused_by_its_header(root: Path, size: tuple[int, int]) -> None:
    path = root / "train" / "a.png"
    path.write_bytes(png_that_claims(size))

    assert read_error(root).startswith(f"{path} has more than 64 megapixels")


def png_that_claims(size: tuple[int, int]) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_the_fingerprint_is_that_of_the_contents(root: Path) -> None:
    before = CamVid(root).fingerprint()
    path = root / "train" / "a.png"
    os.utime(path, (1, 1))

    assert before == CamVid(root).fingerprint()

    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    status = path.stat()
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert before != CamVid(root).fingerprint()


def test_the_fingerprint_covers_names_and_the_split_of_a_sample(root: Path) -> None:
    before = CamVid(root).fingerprint()
    for folder in ("train", "trainannot"):
        (root / folder / "a.png").rename(root / folder / "z.png")

    assert before != CamVid(root).fingerprint()


def test_the_class_table_goes_with_the_label_values() -> None:
    values = [c.name.replace("_", "").lower() for c in CamVidClass if c != CamVidClass.VOID]

    assert values == [name.lower() for name in CAMVID_CLASSES.names]
    assert 11 == CAMVID_CLASSES.num_classes == CAMVID_CLASSES.ignore_index
    assert len(set(CAMVID_CLASSES.palette)) == 11


@pytest.mark.skipif(not REAL_ROOT.is_dir(), reason="CamVid is not in ../shared/data/CamVid")
def test_the_published_data_set_is_read() -> None:
    source = CamVid(REAL_ROOT)
    keys = source.keys()
    samples = [source.read("train", key) for key in keys["train"][::60]]

    assert {split: len(keys[split]) for split in ("train", "val")} == {"train": 367, "val": 101}
    assert {(360, 480, 3)} == {sample.image_HWC.shape for sample in samples}
    assert set(range(12)) == {int(v) for sample in samples for v in np.unique(sample.label_HW)}
