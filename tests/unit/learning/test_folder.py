"""Files below one place: whole or not there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.core.errors import DataError
from pipeline.learning.folder import (
    Folder,
    exists,
    folder_uri,
    is_local,
    read_bytes,
    write_bytes,
)


@pytest.fixture
def folder(tmp_path: Path, folder_at: Callable[[Path], Folder]) -> Folder:
    return folder_at(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256)) * 100])
def test_bytes_read_back_as_they_were_written(folder: Folder, content: bytes) -> None:
    write_bytes(folder, "file", content)

    assert read_bytes(folder, "file") == content


def test_a_file_is_written_with_the_folders_above_it(folder: Folder, tmp_path: Path) -> None:
    write_bytes(folder, "one/two/file", b"x")

    assert (tmp_path / "one" / "two" / "file").read_bytes() == b"x"


def test_new_content_takes_the_place_of_the_old(folder: Folder) -> None:
    write_bytes(folder, "file", b"a long first content")
    write_bytes(folder, "file", b"short")

    assert read_bytes(folder, "file") == b"short"


def test_writing_leaves_no_other_file(folder: Folder, tmp_path: Path) -> None:
    write_bytes(folder, "file", b"x")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_file_is_reported_with_its_place(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file is missing in") as caught:
        read_bytes(folder, "file")

    assert str(tmp_path) in str(caught.value)


def test_a_written_file_exists(folder: Folder) -> None:
    write_bytes(folder, "file", b"")

    assert exists(folder, "file")


def test_neither_nothing_nor_a_folder_is_a_file(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    assert not exists(folder, "file")
    assert not exists(folder, "inner")


def test_a_folder_on_disk_is_local(folder: Folder) -> None:
    assert is_local(folder)
    assert is_local(LocalFileSystem())


def test_a_folder_on_disk_is_named_by_its_path(folder: Folder, tmp_path: Path) -> None:
    assert folder_uri(folder) == str(tmp_path)
