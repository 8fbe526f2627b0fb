"""How a data set is cut into shards and under which names: decided before anything is written."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.core.errors import UsageError
from pipeline.core.manifest import ClassTable
from pipeline.core.units import ShardSize

# Raise it with every change after which shards or parts of before do not go with new ones.
LAYOUT_VERSION = 6
DEFAULT_QUALITY = 90
DEFAULT_SHARD_SIZE = ShardSize(64, "samples")

Encoding = Literal["png", "jpeg", "webp"]
Keys = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Layout:
    """What a user chooses about the shards.

    Attributes:
        image_size: (height, width) to resize to; None keeps the pictures' size.
        encoding: of the pictures; labels are always PNG.
        quality: 1..100 of the lossy encodings; None for png, which has none.
        shard_size: the most that one shard holds; a size in bytes is kept roughly.
    """

    image_size: tuple[int, int] | None = None
    encoding: Encoding = "png"
    quality: int | None = None
    shard_size: ShardSize = DEFAULT_SHARD_SIZE

    def __post_init__(self) -> None:
        if self.encoding == "png":
            if self.quality is not None:
                raise UsageError(
                    "png is lossless and has no quality: leave --quality out, or choose "
                    "--encoding jpeg or webp"
                )
        elif self.quality is None:
            object.__setattr__(self, "quality", DEFAULT_QUALITY)
        elif not 1 <= self.quality <= 100:
            raise UsageError(f"--quality must be within 1..100, got {self.quality}")


@dataclass(frozen=True)
class Shard:
    """One shard to write: its place in the data set's folder and the samples in it."""

    path: str
    split: str
    keys: tuple[str, ...]

    @property
    def work(self) -> int:
        """Return how many samples there are to write."""
        return len(self.keys)


def generation_name(source_fingerprint: str, classes: ClassTable, layout: Layout) -> str:
    """Return the folder for the shards of one source in one state with one layout."""
    identity = [LAYOUT_VERSION, source_fingerprint, asdict(classes), asdict(layout)]
    return short_hash(json.dumps(identity))


def short_hash(text: str) -> str:
    """Return 12 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def plan_shards(keys: Keys, samples_per_shard: int, generation: str) -> Iterator[Shard]:
    """Yield the shards of every split, in stored order; one is made when it is asked for."""
    for split, all_keys in keys.items():
        for number, start in enumerate(range(0, len(all_keys), samples_per_shard)):
            chosen = tuple(all_keys[start : start + samples_per_shard])
            yield Shard(f"{generation}/{split}-{number:06d}.tar", split, chosen)


def num_shards(keys: Keys, samples_per_shard: int) -> int:
    """Return how many shards ``plan_shards`` makes."""
    return sum(math.ceil(len(split) / samples_per_shard) for split in keys.values())


def evenly_spread(keys: Sequence[str], count: int) -> list[str]:
    """Return up to ``count`` keys at equal distances, the same ones every time."""
    count = min(count, len(keys))
    return [keys[index * len(keys) // count] for index in range(count)]
