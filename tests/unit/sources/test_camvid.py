"""CamVid's folder layout and label values."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.camvid import CAMVID_CLASSES, CamVid, CamVidClass
from tests.unit.sources.conftest import SIZE, data_error, save, save_image

REAL_ROOT = Path(__file__).parents[4] / "shared" / "data" / "CamVid"


def save_pair(root: Path, split: str, key: str) -> None:
    save_image(root / split / f"{key}.png", 90)
    label_HW = (np.arange(SIZE[0] * SIZE[1], dtype=np.uint8) % 12).reshape(SIZE)
    save(root / f"{split}annot" / f"{key}.png", label_HW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, keys in {"train": ("b", "a", "c"), "val": ("d",)}.items():
        for key in keys:
            save_pair(tmp_path, split, key)
    return tmp_path


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


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    said = data_error(CamVid(tmp_path / "nowhere").keys)

    assert said.startswith(f"{tmp_path / 'nowhere'} has no folder train/, wanted the folder that")


@pytest.mark.parametrize("missing", ["train", "trainannot", "val", "valannot"])
def test_a_missing_folder_is_named(root: Path, missing: str) -> None:
    (root / missing).rename(root / "elsewhere")

    assert data_error(CamVid(root).keys).startswith(f"{root} has no folder {missing}/")


def test_half_a_test_split_is_refused(root: Path) -> None:
    save_pair(root, "test", "t")
    (root / "testannot").rename(root / "elsewhere")

    assert "has no folder testannot/" in data_error(CamVid(root).keys)


def test_images_pair_with_the_labels_of_their_split(root: Path) -> None:
    (root / "trainannot" / "b.png").rename(root / "valannot" / "b.png")

    expected = f"1 of 3 images in {root / 'train'} have no label in {root / 'trainannot'} "
    assert data_error(CamVid(root).keys).startswith(expected)


def test_a_label_value_beyond_11_is_refused(root: Path) -> None:
    path = root / "trainannot" / "a.png"
    save(path, np.full(SIZE, 12, dtype=np.uint8))

    expected = f"{path} holds the value 12 at row 0, column 0, wanted 0..11"
    assert data_error(CamVid(root).read, "train", "a").startswith(expected)


def test_image_and_label_of_different_sizes_are_refused(root: Path) -> None:
    path = save(root / "trainannot" / "a.png", np.zeros((6, 7), dtype=np.uint8))

    assert data_error(CamVid(root).read, "train", "a").startswith(f"{path} is 6x7")


def test_the_fingerprint_covers_every_split(root: Path) -> None:
    before = CamVid(root).fingerprint()
    save_pair(root, "test", "t")

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
