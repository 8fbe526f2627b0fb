"""Plain folders of images and masks: splits, classes by value and by colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.manifest import ClassTable
from pipeline.sources.classes import MaskClasses
from pipeline.sources.folder import PlainFolder, share_of_key
from tests.unit.sources.conftest import SIZE, data_error, save, save_image, save_label

FLOOR, WALL, BLACK = (128, 64, 128), (1, 2, 3), (0, 0, 0)
CLASSES = MaskClasses(
    name="rooms",
    table=ClassTable(("floor", "wall"), (FLOOR, WALL), ignore_index=255),
    values=(3, 7),
    ignore=0,
    ignore_colours=(BLACK,),
)


def add(root: Path, *stems: str) -> None:
    for stem in stems:
        save_image(root / "images" / f"{stem}.jpg", kind="JPEG")
        save_label(root / "masks" / f"{stem}.png", 7)


@pytest.fixture
def split_root(tmp_path: Path) -> Path:
    add(tmp_path, "train/b", "train/kitchen/a", "val/c")
    return tmp_path


@pytest.fixture
def flat_root(tmp_path: Path) -> Path:
    add(tmp_path, *(f"{k:02d}" for k in range(40)))
    return tmp_path


def test_splits_are_folders(split_root: Path) -> None:
    source = PlainFolder(split_root, CLASSES)

    assert source.keys() == {"train": ("b", "kitchen/a"), "val": ("c",)}
    assert source.name == "rooms"


def test_a_test_split_is_taken_under_its_name_alone(split_root: Path) -> None:
    add(split_root, "test/t")

    assert PlainFolder(split_root, CLASSES).keys()["test"] == ("t",)


def test_values_become_ids(split_root: Path) -> None:
    values = np.full(SIZE, 3, dtype=np.uint8)
    values[0], values[1] = 7, 0
    save(split_root / "masks" / "train" / "b.png", values)
    label = PlainFolder(split_root, CLASSES).read("train", "b").label_HW

    assert [set(row) for row in label[:3].tolist()] == [{1}, {255}, {0}]


def test_colours_become_ids(split_root: Path) -> None:
    colours = np.full((*SIZE, 3), FLOOR, dtype=np.uint8)
    colours[0], colours[1] = WALL, BLACK
    save(split_root / "masks" / "train" / "b.png", colours)
    label = PlainFolder(split_root, CLASSES).read("train", "b").label_HW

    assert [set(row) for row in label[:3].tolist()] == [{1}, {255}, {0}]


def test_a_palette_mask_is_of_values(split_root: Path) -> None:
    mask = Image.new("P", SIZE[::-1], 3)
    mask.putpalette([9] * 768)
    mask.save(split_root / "masks" / "train" / "b.png")

    assert not PlainFolder(split_root, CLASSES).read("train", "b").label_HW.any()


def test_an_unknown_value_is_told(split_root: Path) -> None:
    path = save_label(split_root / "masks" / "train" / "b.png", 4)

    said = data_error(PlainFolder(split_root, CLASSES).read, "train", "b")
    assert said.startswith(f"{path} holds the value 4 at row 0, column 0, wanted 0, 3, 7")


def test_an_unknown_colour_is_told(split_root: Path) -> None:
    path = split_root / "masks" / "train" / "b.png"
    save(path, np.full((*SIZE, 3), (1, 2, 4), dtype=np.uint8))

    said = data_error(PlainFolder(split_root, CLASSES).read, "train", "b")
    assert said.startswith(f"{path} holds the colour [1, 2, 4] at row 0, column 0")


def test_a_mask_of_another_size_is_told(split_root: Path) -> None:
    path = save(split_root / "masks" / "val" / "c.png", np.full((6, 7), 3, dtype=np.uint8))

    said = data_error(PlainFolder(split_root, CLASSES).read, "val", "c")
    assert said.startswith(f"{path} is 6x7, its image is 6x8")


def test_a_fraction_divides_the_samples(flat_root: Path) -> None:
    source = PlainFolder(flat_root, CLASSES, 0.3)
    keys = source.keys()

    assert 3 < len(keys["val"]) < 21
    assert sorted((*keys["train"], *keys["val"])) == [f"{k:02d}" for k in range(40)]
    for split, (key, *_) in keys.items():
        assert source.read(split, key).label_HW.all()


def test_new_samples_move_no_other_and_a_larger_fraction_takes_none_back(flat_root: Path) -> None:
    before = PlainFolder(flat_root, CLASSES, 0.3).keys()
    add(flat_root, *(f"new/{k}" for k in range(40)))
    after = PlainFolder(flat_root, CLASSES, 0.3).keys()
    larger = PlainFolder(flat_root, CLASSES, 0.5).keys()

    assert set(before["train"]) <= set(after["train"])
    assert set(before["val"]) <= set(after["val"]) <= set(larger["val"])


def test_the_share_of_a_key_is_even_and_its_own() -> None:
    shares = [share_of_key(f"frame_{k:05d}") for k in range(4000)]

    assert np.histogram(shares, 4, (0, 1))[0] == pytest.approx(1000, abs=120)
    assert share_of_key("frame_00000") == shares[0] == pytest.approx(0.29995, abs=1e-5)


def test_the_test_split_is_not_divided(flat_root: Path) -> None:
    add(flat_root, "test/t", "test/deep/u", "room/test/v")
    keys = PlainFolder(flat_root, CLASSES, 0.3).keys()

    assert keys["test"] == ("deep/u", "t")
    rest = {*keys["train"], *keys["val"]}
    assert not any(key.startswith("test") for key in rest)
    assert "room/test/v" in rest
    assert PlainFolder(flat_root, CLASSES, 0.3).read("test", "t").label_HW.all()


def test_a_fraction_beside_a_val_split_is_refused(split_root: Path) -> None:
    said = data_error(PlainFolder(split_root, CLASSES, 0.3).keys)

    assert said.startswith(f"{split_root} has a val split already: leave out --val-fraction")


def test_a_fraction_of_too_few_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "a", "b")

    said = data_error(PlainFolder(tmp_path, CLASSES, 1e-9).keys)
    assert said.startswith(
        f"{tmp_path} has 2 samples for train and 0 for val by the fraction 1e-09"
    )


def test_no_splits_and_no_fraction_is_told_with_both_ways_out(flat_root: Path) -> None:
    said = data_error(PlainFolder(flat_root, CLASSES).keys)

    assert said.startswith(f"{flat_root / 'images'} is not split into train/ and val/")
    assert "--val-fraction" in said


@pytest.mark.parametrize("name", ["images/validation", "masks/validation", "images/a.jpg"])
def test_what_would_be_passed_over_is_told(split_root: Path, name: str) -> None:
    (split_root / name).mkdir()
    (split_root / "images" / "notes.txt").touch()

    said = data_error(PlainFolder(split_root, CLASSES).keys)
    assert said.startswith(f"{split_root / name} is in none of train/, val/ and test/")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_root_without_images_or_masks_is_told(split_root: Path, kind: str) -> None:
    (split_root / kind).rename(split_root / "elsewhere")

    said = data_error(PlainFolder(split_root, CLASSES).keys)
    assert said.startswith(f"{split_root} has no folder {kind}/")


def test_half_a_test_split_is_told(split_root: Path) -> None:
    save_label(split_root / "masks" / "test" / "t.png")

    said = data_error(PlainFolder(split_root, CLASSES).keys)
    assert said.startswith(f"{split_root / 'images' / 'test'} cannot be read")


def test_the_fingerprint_follows_classes_and_fraction(flat_root: Path) -> None:
    sources = (
        PlainFolder(flat_root, CLASSES, 0.3),
        PlainFolder(flat_root, CLASSES, 0.4),
        PlainFolder(flat_root, replace(CLASSES, values=(3, 8)), 0.3),
        PlainFolder(flat_root, replace(CLASSES, ignore_colours=()), 0.3),
    )

    assert sources[0].fingerprint() == sources[0].fingerprint()
    assert len({source.fingerprint() for source in sources}) == 4
