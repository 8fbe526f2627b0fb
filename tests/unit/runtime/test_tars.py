"""Tars of strangers: what is in an honest one is found, what could do harm is refused by name."""

import io
import tarfile
from collections.abc import Callable
from contextlib import suppress

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.runtime.tars import MAX_MEMBER_BYTES, Member, end_tar, read_members, write_member

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
Change = Callable[[tarfile.TarInfo], None]


def tar_of(contents: dict[str, bytes], form: int = tarfile.PAX_FORMAT, mtime: float = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_with(change: Change) -> bytes:
    """Return a tar of a good member and one that ``change`` was let at."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("good.txt"))
        member = tarfile.TarInfo("bad.png")
        change(member)
        tar.addfile(member)
    return buffer.getvalue()


def members(content: bytes) -> list[Member]:
    return list(read_members(io.BytesIO(content), "some.tar", lambda name: True))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=150)
CONTENTS = st.dictionaries(NAMES.filter(lambda n: n != ".."), st.binary(max_size=1200), max_size=5)


@settings(max_examples=30)
@given(contents=CONTENTS, form=st.sampled_from(FORMATS[1:]), mtime=st.sampled_from([0, 0.5, 1e12]))
def test_the_members_are_those_that_python_finds(
    contents: dict[str, bytes], form: int, mtime: float
) -> None:
    content = tar_of(contents, form, mtime)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        offsets = [member.offset_data for member in tar]
    found = members(content)

    assert [(m.name, m.content) for m in found] == list(contents.items())
    assert [member.offset for member in found] == offsets


@settings(max_examples=30)
@given(content=st.binary(max_size=1200), key=NAMES.filter(lambda n: "." not in n))
def test_a_tar_is_what_webdataset_would_write(content: bytes, key: str) -> None:
    theirs, ours = io.BytesIO(), io.BytesIO()
    with webdataset.TarWriter(theirs, user="", group="", mtime=0, encoder=False) as tar:
        tar.write({"__key__": key, "image.png": content, "label.png": b"label"})
    begins = [
        write_member(ours, f"{key}.{name}", written)
        for name, written in (("image.png", content), ("label.png", b"label"))
    ]
    end_tar(ours)

    assert theirs.getvalue() == ours.getvalue()
    assert begins == [member.offset for member in members(ours.getvalue())]


@pytest.mark.parametrize("form", FORMATS)
def test_long_names_are_read_in_every_format(form: int) -> None:
    name = "/".join(["a" * 50, "b" * 50, "c" * 50 + ".png"])

    assert [member.name for member in members(tar_of({name: b"x"}, form))] == [name]


def test_only_wanted_content_is_kept() -> None:
    content = tar_of({"a.png": b"x" * 2_000_000, "a.json": b"{}"})
    found = list(read_members(io.BytesIO(content), "t", lambda name: name.endswith("json")))

    assert [(m.name, m.content) for m in found] == [("a.png", b""), ("a.json", b"{}")]


@settings(max_examples=40)
@given(cut=st.integers(0, 10_239))
def test_a_tar_that_was_cut_anywhere_is_told(cut: int) -> None:
    whole = tar_of({"a.png": b"x" * 700, "b.png": b"y" * 1024})
    end = 512 + 1024 + 512 + 1024  # after it come only the blocks that say it is the end

    if cut >= end + 512:
        assert len(members(whole[:cut])) == 2
    else:
        with pytest.raises(DataError, match=r"some\.tar ends early"):
            members(whole[:cut])


def linked(kind: bytes) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "/etc/passwd"

    return change


def named(name: str) -> Change:
    return lambda member: setattr(member, "name", name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (linked(tarfile.SYMTYPE), "'bad.png' is a symbolic link: refused"),
        (linked(tarfile.LNKTYPE), "'bad.png' is a hard link: refused"),
        (linked(tarfile.CHRTYPE), "'bad.png' is a device: refused"),
        (linked(tarfile.BLKTYPE), "'bad.png' is a device: refused"),
        (linked(tarfile.FIFOTYPE), "'bad.png' is a named pipe: refused"),
        (linked(b"Z"), "'bad.png' is a special file: refused"),
        (named("/etc/x.png"), "'/etc/x.png' has a name that leads out of the tar: refused"),
        (named("a/../../x.png"), "'a/../../x.png' has a name that leads out"),
        (
            lambda member: setattr(member, "size", MAX_MEMBER_BYTES + 1),
            f"'bad.png' has {MAX_MEMBER_BYTES + 1} bytes, more than 64 MB: refused",
        ),
    ],
)
def test_what_could_do_harm_is_refused(change: Change, said: str) -> None:
    with pytest.raises(DataError) as caught:
        members(tar_with(change))

    assert str(caught.value).startswith("some.tar: member ")
    assert said in str(caught.value)


def test_a_sparse_file_is_refused_in_either_form() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        tar.addfile(member)
    old = tar_with(lambda member: setattr(member, "type", tarfile.GNUTYPE_SPARSE))

    for content in (buffer.getvalue(), old):
        with pytest.raises(DataError, match="is a sparse file: refused"):
            members(content)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_name_that_claims_gigabytes_is_not_read(kind: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.size = kind, 5 << 30

    with pytest.raises(DataError, match=r"some\.tar has a header of 5368709120 bytes: refused"):
        members(tar_with(change))


@pytest.mark.parametrize("at", [512, 512 + 150])
def test_a_damaged_header_is_told_with_its_place(at: int) -> None:
    content = bytearray(tar_with(lambda member: None))
    content[at] ^= 0x55

    with pytest.raises(DataError, match=r"some\.tar is damaged at byte 512: no tar header"):
        members(bytes(content))


@settings(max_examples=100)
@given(junk=st.binary(min_size=512, max_size=1024))
def test_no_bytes_raise_anything_but_our_error(junk: bytes) -> None:
    checksum = sum(junk[:148]) + 8 * 32 + sum(junk[156:512])
    header = junk[:148] + b"%06o\0 " % checksum + junk[156:]

    for content in (junk, header):
        with suppress(DataError):
            members(content)
