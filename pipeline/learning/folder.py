"""Files below one place, on disk or on S3: a pyarrow file system rooted there.

Everything that reads or writes data sets and checkpoints takes such a folder, so none of it knows
where the bytes live. ``pipeline.runtime.storage`` makes folders from URIs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from pyarrow import NativeFile
from pyarrow.fs import FileSystem, FileType, LocalFileSystem, SubTreeFileSystem

from pipeline.core.errors import DataError

Folder: TypeAlias = FileSystem

_AT_ONCE_BYTES = 4 << 20  # written to disk: a third less time than a picture at a time


def read_bytes(folder: Folder, name: str) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: there is no such file.
        OSError: the storage failed.
    """
    try:
        with folder.open_input_stream(name) as stream:
            return bytes(stream.read())
    except FileNotFoundError as cause:
        raise DataError(f"{name} is missing in {folder_uri(folder)}") from cause


def write_bytes(folder: Folder, name: str, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new."""
    with open_whole(folder, name) as stream:
        stream.write(content)


@contextmanager
def open_whole(folder: Folder, name: str) -> Iterator[NativeFile]:
    """Open a file to write that others see only once it is complete, a power cut or not."""
    if not is_local(folder):  # S3 shows an object only when its upload is complete
        with folder.open_output_stream(name) as stream:
            yield stream
        return
    parent, slash, _ = name.rpartition("/")
    if slash:
        folder.create_dir(parent, recursive=True)
    target = f"{name}.partial"
    with folder.open_output_stream(target, buffer_size=_AT_ONCE_BYTES) as stream:
        yield stream
    _settle(f"{folder_uri(folder)}/{target}")
    folder.move(target, name)


def exists(folder: Folder, name: str) -> bool:
    """Return whether there is a file of this name."""
    return bool(folder.get_file_info(name).type == FileType.File)


def _settle(path: str) -> None:
    """Wait until a file is on the disk, and have the system let go of the memory it took for it.

    A data set may be larger than memory. And where a virtual machine gives back what is free, each
    page that was not used a moment ago costs as much as encoding what goes into it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def is_local(folder: Folder) -> bool:
    """Return whether the folder is on this machine's disk."""
    base = folder.base_fs if isinstance(folder, SubTreeFileSystem) else folder
    return isinstance(base, LocalFileSystem)


def folder_uri(folder: Folder) -> str:
    """Return where the folder is, for messages."""
    path = folder.base_path.rstrip("/") if isinstance(folder, SubTreeFileSystem) else ""
    return path if is_local(folder) else f"s3://{path}"
