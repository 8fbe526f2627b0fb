"""Tars, written member by member and read without trust.

Nothing is extracted, every header is checked. Python's own reader takes a tar that was cut between
two members for a whole one, and reads as much of a long name as its header claims; so the headers
are walked here.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from pipeline.core.errors import DataError
from pipeline.core.manifest import MAX_MEMBER_BYTES

_MAX_EXTENSION_BYTES = 64 << 10
_BLOCK = tarfile.BLOCKSIZE
_KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


@dataclass(frozen=True)
class Member:
    """A file in a tar: where its bytes begin, and what they are, empty if nobody wanted them."""

    name: str
    offset: int
    content: bytes


class Readable(Protocol):
    """Bytes from front to back."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer at the end."""
        ...


class Writable(Protocol):
    """Bytes from front to back, and how many there are."""

    def write(self, content: bytes, /) -> int:
        """Add bytes."""
        ...

    def tell(self) -> int:
        """Return how many were written."""
        ...


def read_members(
    stream: Readable, tar: str, wanted: Callable[[str], bool] = lambda name: False
) -> Iterator[Member]:
    """Yield the files of a tar in stored order; folders are passed over.

    Args:
        stream: the tar, uncompressed.
        tar: its path, for messages.
        wanted: whether the content of a member of this name is to be kept.

    Raises:
        DataError: the tar is damaged or ends early, or holds a link, a device, a sparse file, a
            file above 64 MB or a name that leads out of it.
    """
    reader = _Reader(stream, tar)
    while (header := reader.header()) is not None:
        offset = reader.position
        if header.type == tarfile.DIRTYPE:
            reader.skip(header.size)
            continue
        _require_plain(header, tar)
        content = reader.read(header.size) if wanted(header.name) else reader.skip(header.size)
        yield Member(header.name, offset, content)


def write_member(stream: Writable, name: str, content: bytes) -> int:
    """Add a file to a tar that always has the same bytes; return where its content begins."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    header.mode = 0o444
    stream.write(header.tobuf())
    begin = stream.tell()
    stream.write(content)
    stream.write(bytes(-len(content) % _BLOCK))
    return begin


def end_tar(stream: Writable) -> None:
    """Add what ends a tar: two empty blocks, and as many as fill a record."""
    stream.write(bytes(2 * _BLOCK))
    stream.write(bytes(-stream.tell() % tarfile.RECORDSIZE))


class _Reader:
    """A position in a tar that always is at a block's begin."""

    def __init__(self, stream: Readable, tar: str) -> None:
        self._stream = stream
        self._tar = tar
        self.position = 0

    def header(self) -> tarfile.TarInfo | None:
        """Return the next member's header with its long name; None at the end of the archive."""
        name, size = None, None
        while True:
            at, block = self.position, self.read(_BLOCK)
            if not any(block):
                return None
            try:
                # The short name beside a long one may end within a character.
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                if header.size < 0:
                    raise tarfile.HeaderError("negative size")
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    name = self._extension(header).rstrip(b"\0").decode()
                elif header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
                    fields = _pax_fields(self._extension(header))
                    if any(field.startswith("GNU.sparse") for field in fields):
                        header.type = tarfile.GNUTYPE_SPARSE
                        return header
                    if header.type == tarfile.XHDTYPE:
                        name = fields.get("path", name)
                        size = int(fields["size"]) if "size" in fields else size
                else:
                    header.name = header.name if name is None else name
                    header.name.encode()  # raises where it is no UTF-8
                    header.size = header.size if size is None else size
                    return header
            except (tarfile.HeaderError, ValueError) as cause:
                raise DataError(f"{self._tar} is damaged at byte {at}: no tar header") from cause

    def read(self, size: int) -> bytes:
        """Return the next bytes and go to the block after them."""
        content = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return content

    def skip(self, size: int) -> bytes:
        """Go to the block after the next bytes; return none of them."""
        for start in range(0, size, 1 << 20):
            self._exactly(min(1 << 20, size - start))
        self._exactly(-size % _BLOCK)
        return b""

    def _exactly(self, size: int) -> bytes:
        pieces, missing = [], size
        while missing and (piece := self._stream.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        self.position += size
        if missing:
            raise DataError(
                f"{self._tar} ends early, {missing} bytes before the end of a block: copy it again"
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if header.size > _MAX_EXTENSION_BYTES:
            raise DataError(f"{self._tar} has a header of {header.size} bytes: refused")
        return self.read(header.size)


def _pax_fields(content: bytes) -> dict[str, str]:
    """Return the fields of a pax header: records of "length key=value" and a newline."""
    fields = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not 0 < int(length) <= len(content):
            raise ValueError("a pax record of a wrong length")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        fields[key.decode()] = value.decode()
        content = content[int(length) :]
    return fields


def _require_plain(header: tarfile.TarInfo, tar: str) -> None:
    wrong = None
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        wrong = f"is a {_KINDS.get(header.type, 'special file')}"
    elif header.name.startswith("/") or ".." in PurePosixPath(header.name).parts:
        wrong = "has a name that leads out of the tar"
    elif header.size > MAX_MEMBER_BYTES:
        wrong = f"has {header.size} bytes, more than {MAX_MEMBER_BYTES >> 20} MB"
    if wrong:
        raise DataError(f"{tar}: member {header.name!r} {wrong}: refused")
