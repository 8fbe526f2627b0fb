"""Which members of a WebDataset tar are a picture and its label."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice

from pipeline.core.errors import DataError
from pipeline.runtime.tars import Member, Readable, read_members

_PICTURES = ("png", "jpg", "jpeg", "webp")
_LABEL_WORDS = ("label", "mask", "seg", "annot", "target")
# As webdataset has it: the key ends at the first dot of the file's name.
_NAME = re.compile(r"((?:.*/|)[^./]+)[.]([^/]+)", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """The members of one sample that are its picture and its label."""

    key: str
    image: Member
    label: Member


def read_pairs(stream: Readable, tar: str) -> Iterator[Pair]:
    """Yield the samples of a tar in stored order.

    Raises:
        DataError: as ``read_members``, or a sample has not one picture and one label, or occurs
            twice.
    """
    members = (m for m in read_members(stream, tar, _is_picture) if _NAME.fullmatch(m.name))
    seen = set()
    for key, group in groupby(members, key=lambda member: _split(member.name)[0]):
        if key in seen:
            raise DataError(f"{tar} holds the sample {key!r} twice: give each a key of its own")
        seen.add(key)
        # The third picture tells as much as all of them would.
        pictures = list(islice((m for m in group if _is_picture(m.name)), 3))
        yield _pair(key, pictures, tar)


def _pair(key: str, pictures: list[Member], tar: str) -> Pair:
    labels = [member for member in pictures if _is_label(member.name)]
    if not labels:
        labels = [member for member in pictures if _split(member.name)[1].endswith("png")]
    if len(pictures) != 2 or len(labels) != 1:
        found = ", ".join(_split(member.name)[1] for member in pictures) or "no picture"
        raise DataError(
            f"{tar}: sample {key!r} has {found}; wanted one picture and one label, which is the "
            f"one with {', '.join(_LABEL_WORDS[:-1])} or {_LABEL_WORDS[-1]} in its extension, "
            "or the only png"
        )
    (image,) = (member for member in pictures if member is not labels[0])
    return Pair(key, image, labels[0])


def _split(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    return (match[1], match[2].lower()) if match else (name, "")


def _is_picture(name: str) -> bool:
    return _split(name)[1].rpartition(".")[2] in _PICTURES


def _is_label(name: str) -> bool:
    return any(word in _split(name)[1] for word in _LABEL_WORDS)
