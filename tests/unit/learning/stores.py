"""Shards in memory that count how they are read, and a split of tiny samples that tell their index.

For properties over many data sets; ``conftest.py`` has one as it lies on disk.
"""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipeline.core.errors import CorruptSample
from pipeline.core.manifest import SampleRecord
from pipeline.learning.decoding import Sample
from pipeline.learning.records import Records, records_table

SIZE = (2, 3)
SAMPLES_PER_SHARD = 16


@dataclass
class CountedShards:
    """A ``ShardStore`` of what it is given, slow enough that threads meet in it."""

    shards: Mapping[str, bytes]
    delay_s: float = 0.0
    failure: Exception | None = None
    reads: list[tuple[str, int, int]] = field(default_factory=list)

    def read(self, shard: str, start: int, length: int) -> bytes:
        self.reads.append((shard, start, length))
        time.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        content = self.shards[shard][start : start + length]
        if len(content) < length:
            raise CorruptSample(f"{shard} ends at byte {start + len(content)}")
        return content

    @property
    def sizes(self) -> dict[str, int]:
        return {shard: len(content) for shard, content in self.shards.items()}

    @property
    def whole_reads(self) -> list[str]:
        """Return the shards that were read as a whole, once for each time."""
        return [shard for shard, *span in self.reads if span == [0, len(self.shards[shard])]]


def random_shards(num_shards: int, shard_bytes: int) -> dict[str, bytes]:
    chance = np.random.default_rng(3)
    return {f"gen/train-{n:06d}.tar": chance.bytes(shard_bytes) for n in range(num_shards)}


def at_once(calls: Iterable[Callable[[], object]]) -> list[object]:
    """Return what calls give that each have a thread and start together."""
    calls = list(calls)
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait(timeout=10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def numbered_sample(index: int) -> Sample:
    """Return a sample whose first pixel is its index, see ``index_of``."""
    image = np.full((*SIZE, 3), 200, dtype=np.uint8)
    image[0, 0] = index // 256, index % 256, 7
    return Sample(image, np.full(SIZE, index % 3, dtype=np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def record_of(
    image: bytes, label: bytes, size: tuple[int, int] = SIZE, index: int = 0, offset: int = 0
) -> SampleRecord:
    return SampleRecord(
        key=f"{index:03d}",
        split="train",
        shard=f"gen/train-{index // SAMPLES_PER_SHARD:06d}.tar",
        image_offset=offset,
        image_bytes=len(image),
        label_offset=offset + len(image),
        label_bytes=len(label),
        height=size[0],
        width=size[1],
        class_pixels=(1,),
        sha256=hashlib.sha256(image + label).hexdigest(),
    )


def numbered_split(num_samples: int) -> tuple[Records, dict[str, bytes]]:
    """Return the manifest and the shards of ``numbered_sample`` 0, 1, ..."""
    shards: dict[str, bytes] = {}
    records = []
    for index in range(num_samples):
        image, label = (encoded(Image.fromarray(part)) for part in numbered_sample(index))
        shard = f"gen/train-{index // SAMPLES_PER_SHARD:06d}.tar"
        before = shards.get(shard, b"")
        records.append(record_of(image, label, index=index, offset=len(before)))
        shards[shard] = before + image + label
    return Records(records_table(records)), shards


def damaged(shards: Mapping[str, bytes], records: Iterable[SampleRecord]) -> dict[str, bytes]:
    """Return shards with a byte flipped in the picture of each of some records."""
    changed = {shard: bytearray(content) for shard, content in shards.items()}
    for record in records:
        changed[record.shard][record.image_offset + record.image_bytes // 2] ^= 1
    return {shard: bytes(content) for shard, content in changed.items()}
