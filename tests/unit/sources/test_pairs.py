"""Which files belong together, what a sample is called, and when a data set is another one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from pipeline.sources.pairs import (
    PairedFolders,
    fingerprint,
    key_from_stem,
    require_folders,
    stem_from_key,
)
from tests.unit.sources.conftest import data_error

# What a folder can hold: names of any bytes but "/" and NUL.
NAMES = st.binary(min_size=1, max_size=6).map(os.fsdecode).filter(lambda n: not set("/\0") & set(n))
STEMS = st.lists(st.one_of(NAMES, st.text("_a.%/", min_size=1, max_size=6)), min_size=1).map(
    "/".join
)


def touch(path: Path, content: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def folders(tmp_path: Path) -> PairedFolders:
    for name in ("b", "a", "deep/er/c"):
        touch(tmp_path / "images" / f"{name}.jpg")
        touch(tmp_path / "labels" / f"{name}.png")
    return PairedFolders(tmp_path / "images", tmp_path / "labels")


def test_keys_are_sorted_and_keep_their_folders(folders: PairedFolders) -> None:
    assert folders.keys() == ("a", "b", "deep/er/c")


def test_a_key_leads_back_to_its_files(folders: PairedFolders) -> None:
    touch(folders.images / "x.y" / "50% off.PNG")
    touch(folders.labels / "x.y" / "50% off.PNG")

    keys = folders.keys()

    assert keys[-1] == "x%2Ey/50%25%20off"
    for key in keys:
        assert all(path.is_file() for path in folders.paths(key))


def test_a_missing_file_is_named_as_it_should_be(folders: PairedFolders) -> None:
    (folders.labels / "a.png").unlink()

    assert folders.paths("a")[1] == folders.labels / "a.png"


@settings(deadline=None)
@given(stem=STEMS)
def test_a_key_is_the_whole_key_to_webdataset_and_can_be_turned_back(stem: str) -> None:
    key = key_from_stem(stem)

    assert stem == stem_from_key(key)
    assert "." not in key
    assert key.isascii()
    assert key.isprintable()
    # A key that ends in "/" cannot be: a file's name is not empty.
    if not key.endswith("/"):
        assert base_plus_ext(f"{key}.image.png") == (key, "image.png")
    assert not re.match(r"__[^/]*__($|/)", f"{key}.image.png"), "WebDataset passes over it"


def test_hidden_files_and_folders_do_not_count(folders: PairedFolders) -> None:
    touch(folders.images / "._a.jpg")
    touch(folders.images / ".checkpoints" / "a.jpg")
    touch(folders.images / "Thumbs.db")

    assert len(folders.keys()) == 3


def test_images_without_a_label_are_counted_and_the_first_is_named(folders: PairedFolders) -> None:
    for name in ("b", "a"):
        (folders.labels / f"{name}.png").unlink()

    expected = f"2 of 3 images in {folders.images} have no label in {folders.labels} (first: a.jpg)"
    assert data_error(folders.keys).startswith(expected)


def test_a_label_without_an_image_is_named(folders: PairedFolders) -> None:
    (folders.images / "deep" / "er" / "c.jpg").unlink()

    expected = f"1 of 3 labels in {folders.labels} have no image in {folders.images} (first: deep"
    assert data_error(folders.keys).startswith(expected)


def test_a_label_of_another_format_is_no_label(folders: PairedFolders) -> None:
    (folders.labels / "a.png").rename(folders.labels / "a.tif")

    assert "(first: a.jpg)" in data_error(folders.keys)


def test_two_images_of_one_name_are_refused(folders: PairedFolders) -> None:
    touch(folders.images / "a.webp")

    said = data_error(folders.keys)
    assert said.startswith(f"{folders.images} holds both a.")
    assert "a.jpg" in said
    assert "a.webp" in said


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    said = data_error(PairedFolders(tmp_path / "images", tmp_path / "labels").keys)

    assert said.startswith(f"{tmp_path / 'images'} holds no images, wanted at least one")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = data_error(PairedFolders(tmp_path / "images", tmp_path / "labels").keys)

    assert said.startswith(f"{tmp_path / 'images'} cannot be read (No such file or directory)")


def test_a_link_that_leads_in_circles_is_refused(folders: PairedFolders) -> None:
    (folders.images / "again").symlink_to(folders.images)

    expected = f"{folders.images / 'again'} is a link to a folder"
    assert data_error(folders.keys).startswith(expected)


def test_a_linked_folder_and_linked_files_are_read(folders: PairedFolders, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders.images)
    (folders.images / "d.jpg").symlink_to(folders.images / "a.jpg")
    touch(folders.labels / "d.png")

    assert PairedFolders(tmp_path / "link", folders.labels).keys() == ("a", "b", "d", "deep/er/c")


def test_a_wrong_root_is_told_with_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()

    said = data_error(require_folders, tmp_path, "images", "masks")
    assert said.startswith(
        f"{tmp_path} has no folder masks/, wanted the folder that holds images/,"
    )


def rename(folders: PairedFolders) -> None:
    for path in folders.paths("a"):
        path.rename(path.with_stem("z"))


def add(folders: PairedFolders) -> None:
    touch(folders.images / "n.jpg")
    touch(folders.labels / "n.png")


def move(folders: PairedFolders) -> None:
    for path in folders.paths("a"):
        path.rename(path.parent / "deep" / path.name)


def grow_in_no_time(folders: PairedFolders) -> None:
    path, _ = folders.paths("a")
    before = path.stat()
    path.write_text("longer")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_the_label_by_a_nanosecond(folders: PairedFolders) -> None:
    _, path = folders.paths("a")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change", [rename, add, move, grow_in_no_time, touch_the_label_by_a_nanosecond]
)
def test_the_fingerprint_changes_with_the_files(
    folders: PairedFolders, change: Callable[[PairedFolders], None]
) -> None:
    before = fingerprint({"train": folders}, "settings")
    assert before == fingerprint({"train": folders}, "settings")

    change(folders)
    assert before != fingerprint({"train": folders}, "settings")


def test_the_fingerprint_knows_split_and_settings_but_not_where_the_folder_is(
    folders: PairedFolders, tmp_path: Path
) -> None:
    before = fingerprint({"train": folders}, 1)

    assert before != fingerprint({"val": folders}, 1)
    assert before != fingerprint({"train": folders}, 2)
    for name in ("images", "labels"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    moved = PairedFolders(tmp_path / "moved-images", tmp_path / "moved-labels")
    assert before == fingerprint({"train": moved}, 1)


def test_the_fingerprint_opens_no_file(folders: PairedFolders) -> None:
    os.mkfifo(folders.images / "pipe.jpg")  # opening it would wait for ever
    touch(folders.labels / "pipe.png")

    assert fingerprint({"train": folders}, None)
