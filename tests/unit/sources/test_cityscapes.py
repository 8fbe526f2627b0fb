"""Cityscapes' tree, its label ids, and one refusal for each way that a copy goes wrong."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.cityscapes import CITYSCAPES_CLASSES, LABEL_IDS, Cityscapes
from tests.unit.sources.conftest import data_error, save, save_image, save_label

A = "aachen/aachen_000000_000019"
B = "bad-honnef/bad-honnef_000001_000019"
V = "ulm/ulm_000002_000019"
SAMPLES = {"train": (A, B), "val": (V,), "test": ("berlin/berlin_000000_000019",)}


def image_path(root: Path, split: str, key: str) -> Path:
    return root / "leftImg8bit" / split / f"{key}_leftImg8bit.png"


def label_path(root: Path, split: str, key: str, kind: str = "labelIds") -> Path:
    return root / "gtFine" / split / f"{key}_gtFine_{kind}.png"


def make_tree(root: Path, *kinds: str) -> Path:
    for split, keys in SAMPLES.items():
        for key in keys:
            save_image(image_path(root, split, key))
            save_label(label_path(root, split, key, "instanceIds"))
            for kind in kinds:
                save_label(label_path(root, split, key, kind), 7 if kind == "labelIds" else 18)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path, "labelIds")


def test_keys_are_of_train_and_val_and_test_is_left_out(root: Path) -> None:
    assert Cityscapes(root).keys() == {"train": (A, B), "val": (V,)}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(("labelIds",), 0), (("labelTrainIds",), 18), (("labelIds", "labelTrainIds"), 0)],
)
def test_labels_are_read_of_the_kind_that_is_there(
    tmp_path: Path, kinds: tuple[str, ...], expected: int
) -> None:
    source = Cityscapes(make_tree(tmp_path, *kinds))

    assert source.keys()["train"] == (A, B)
    assert {expected} == set(source.read("train", A).label_HW.ravel().tolist())


def test_label_ids_become_classes_and_all_others_are_ignored(root: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save(image_path(root, "train", A), np.zeros((16, 16, 3), dtype=np.uint8))
    save(label_path(root, "train", A), values)

    label = Cityscapes(root).read("train", A).label_HW.ravel().tolist()
    assert [label[value] for value in LABEL_IDS] == list(range(19))
    assert {label[value] for value in range(256) if value not in LABEL_IDS} == {255}


@pytest.mark.parametrize("value", [19, 33, 254])
def test_train_ids_of_another_making_are_refused(tmp_path: Path, value: int) -> None:
    root = make_tree(tmp_path, "labelTrainIds")
    path = save_label(label_path(root, "train", A, "labelTrainIds"), value)

    said = data_error(Cityscapes(root).read, "train", A)
    assert said.startswith(f"{path} holds the value {value} at row 0, column 0, wanted 0..18, 255")


def test_train_ids_in_place_of_some_label_ids_are_told(root: Path) -> None:
    save_label(label_path(root, "train", B, "labelTrainIds"))
    label_path(root, "train", B).unlink()

    expected = (
        f"{root / 'gtFine'} mixes label ids and train ids: 1 of 3 labels are train ids alone "
        f"(first: train/{B})"
    )
    assert data_error(Cityscapes(root).keys).startswith(expected)


def test_a_tree_without_labels_is_told_with_both_names(tmp_path: Path) -> None:
    said = data_error(Cityscapes(make_tree(tmp_path)).keys)

    assert said.startswith(
        f"{tmp_path / 'gtFine'} holds no labels for train and val, wanted *_gtFi"
    )


def test_an_image_without_a_label_is_named(root: Path) -> None:
    label_path(root, "val", V).unlink()
    label_path(root, "train", B).unlink()

    assert f"(first: {B}_leftImg8bit.png)" in data_error(Cityscapes(root).keys)


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine"])
def test_a_root_without_one_of_the_folders_is_told(root: Path, folder: str) -> None:
    (root / folder).rename(root / "elsewhere")

    expected = f"{root} has no folder {folder}/, wanted the folder that holds leftImg8bit/, gtFine/"
    assert data_error(Cityscapes(root).keys).startswith(expected)


@pytest.mark.parametrize("folder", ["leftImg8bit/val", "gtFine/train"])
def test_a_missing_split_is_named(root: Path, folder: str) -> None:
    (root / folder).rename(root / "elsewhere")

    assert data_error(Cityscapes(root).keys).startswith(f"{root / folder} cannot be read")


def test_the_fingerprint_is_of_what_is_read(root: Path) -> None:
    before = Cityscapes(root).fingerprint()
    save_label(label_path(root, "test", SAMPLES["test"][0]), 3)
    save_label(label_path(root, "train", A, "labelTrainIds"), 3)
    assert before == Cityscapes(root).fingerprint()

    save_image(image_path(root, "val", V), 91)
    assert before != Cityscapes(root).fingerprint()


def test_the_classes_are_those_of_the_benchmarks_own_scripts() -> None:
    scripts = pytest.importorskip(
        "cityscapesscripts.helpers.labels",
        reason="cityscapesScripts are not installed: pip install --no-deps cityscapesscripts",
    )
    scored = sorted((x for x in scripts.labels if 0 <= x.trainId < 255), key=lambda x: x.trainId)

    assert [x.trainId for x in scored] == list(range(19))
    assert tuple(x.name for x in scored) == CITYSCAPES_CLASSES.names
    assert tuple(x.color for x in scored) == CITYSCAPES_CLASSES.palette
    assert tuple(x.id for x in scored) == LABEL_IDS
