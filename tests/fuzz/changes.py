"""Changes that get past what guards a format: a checksum, or a grammar that random bytes break."""

import json
import random
import struct
import tarfile
import zlib
from copy import deepcopy
from typing import Any

# What a field of JSON may hold that nobody thought of.
_ODD: tuple[Any, ...] = (
    *(None, True, "", "x", "..", "/", "a\0b", "\udcff", "1", [], [1], ["x"], {}, {"x": 1}),
    *(-1, 0, 1, 255, 256, 2**31, 2**63, 10**30, 0.5, -1e308, float("nan"), float("inf")),
)


def with_png_checksums(content: bytes) -> bytes:
    """Return a PNG whose chunks all have the right checksum; of no PNG, the same bytes."""
    if content[:4] != b"\x89PNG":
        return content
    mended, position = bytearray(content), 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return bytes(mended)


def with_tar_checksums(content: bytes) -> bytes:
    """Return a tar in which every block that calls itself a header has the right checksum."""
    mended = bytearray(content)
    for start in range(0, len(content) - tarfile.BLOCKSIZE + 1, tarfile.BLOCKSIZE):
        if content[start + 257 : start + 262] == b"ustar":
            mended[start + 148 : start + 156] = b" " * 8
            total = sum(mended[start : start + tarfile.BLOCKSIZE])
            mended[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(mended)


def changed_json(content: bytes, max_size: int, seed: int) -> bytes:
    """Return JSON with a few values replaced, repeated or taken away; JSON as before if too long.

    It has the signature of a mutator of libFuzzer.
    """
    draw = random.Random(seed)
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):
        return content[:max_size]
    for _ in range(draw.randint(1, 3)):
        places = list(_places(root))
        holder, at = draw.choice(places)
        match draw.randrange(5):
            case 0 if holder is not root:
                del holder[at]
            case 1:
                other, there = draw.choice(places)
                holder[at] = deepcopy(other[there])
            case 2 if isinstance(holder, list):
                holder.insert(at, deepcopy(holder[at]))
            case 3 if type(holder[at]) in (int, float):
                holder[at] += draw.choice((-1, 1, 7, 1 << 16))
            case _:
                holder[at] = deepcopy(draw.choice(_ODD))
    changed = json.dumps(root[0]).encode()
    return changed if len(changed) <= max_size else content[:max_size]


def _places(holder: Any) -> Any:
    """Yield every place in nested lists and dicts as the one that holds it, and where in that."""
    for at in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, at
        if isinstance(holder[at], (list, dict)):
            yield from _places(holder[at])
