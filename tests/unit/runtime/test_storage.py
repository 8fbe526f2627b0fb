"""Folders from URIs, and what is said when S3 cannot be used."""

import errno
import os
import socket
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, ServiceUnavailable, UsageError
from pipeline.learning.folder import exists, folder_uri, read_bytes, write_bytes
from pipeline.runtime.datasets import dataset_uri
from pipeline.runtime.storage import dataset_names, open_folder, prepare


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "new"))
    write_bytes(folder, "a/b.bin", b"one")
    write_bytes(folder, "a/b.bin", b"two")

    assert read_bytes(folder, "a/b.bin") == b"two"
    assert exists(folder, "a/b.bin")
    assert not exists(folder, "a")
    assert [path.name for path in (tmp_path / "new" / "a").iterdir()] == ["b.bin"]
    assert folder_uri(folder) == str(tmp_path / "new")


def test_what_the_disk_did_not_take_in_the_end_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems find out that they are full when they are asked to keep what they took."""
    folder = open_folder(str(tmp_path))
    write_bytes(folder, "x.json", b"old")

    def is_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(folder, "x.json", b"new")

    assert read_bytes(folder, "x.json") == b"old"


def test_a_missing_file_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"x.json is missing in {tmp_path}"):
        read_bytes(open_folder(str(tmp_path)), "x.json")


@pytest.mark.parametrize("uri", ["http://host/x", "s3://", "pipe:cat"])
def test_only_s3_and_folders_are_places_for_data(uri: str) -> None:
    with pytest.raises(UsageError, match="no place for data"):
        open_folder(uri)


def test_a_name_lies_under_the_store_and_a_uri_where_it_says() -> None:
    assert dataset_uri("camvid", "s3://bucket/a/") == "s3://bucket/a/datasets/camvid"
    assert dataset_uri("s3://other/camvid/", "s3://bucket") == "s3://other/camvid"
    assert dataset_uri("./data", "s3://bucket") == str(Path("data").resolve())
    assert dataset_uri("camvid", "store/") == str(Path("store/datasets/camvid").resolve())


def test_only_finished_data_sets_are_listed(tmp_path: Path) -> None:
    store = open_folder(str(tmp_path))
    write_bytes(store, "datasets/done/dataset.json", b"{}")
    write_bytes(store, "datasets/half/abc/train-000000.tar", b"")

    assert dataset_names(str(tmp_path)) == ["done"]
    assert dataset_names(str(tmp_path / "nothing")) == []


def test_an_s3_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, not listening: refuses, and nobody else can take it
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with pytest.raises(ServiceUnavailable, match=f"S3 at {endpoint} does not answer"):
            prepare("s3://cgnet")
