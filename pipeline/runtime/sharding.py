"""A labelled data set into WebDataset shards, one task a shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pipeline.core.layout import (
    Keys,
    Layout,
    Shard,
    evenly_spread,
    generation_name,
    num_shards,
    plan_shards,
)
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime.parts import Part
from pipeline.runtime.publishing import Generation, Progress, publish, tidy
from pipeline.runtime.shards import encode, write_shard
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import Run, on_cluster
from pipeline.sources.source import Source

_PROBES = 8  # samples that are encoded to learn how many go into a shard of so many bytes
_TAR_BYTES_PER_SAMPLE = 2 * (512 + 256)  # a header and half a block of padding for each member


@dataclass(frozen=True)
class Plan:
    """What would be written."""

    num_samples: Mapping[str, int]
    samples_per_shard: int
    num_shards: int
    num_finished: int
    generation: str
    is_published: bool

    def describe(self, uri: str) -> str:
        """Return it for people."""
        counts = ", ".join(f"{count} {split}" for split, count in self.num_samples.items())
        return (
            f"{counts} samples, {self.samples_per_shard} in a shard: {self.num_shards} shards in "
            f"{uri}/{self.generation}\n{self._left_to_do}"
        )

    @property
    def _left_to_do(self) -> str:
        if self.is_published:
            return "nothing to do: the data set is there"
        return (
            f"{self.num_finished} are there already, {self.num_shards - self.num_finished} to write"
        )


def shard_dataset(
    source: Source,
    name: str,
    uri: str,
    layout: Layout,
    progress: Progress = lambda done, total: None,
    run: Run = on_cluster,
) -> DatasetInfo:
    """Write a source as shards; return what the data set says of itself.

    Shards that are there already from the same source and layout are left as they are. Memory does
    not grow with the number of samples, but for their keys.

    Args:
        source: what to read.
        name: of the data set.
        uri: the folder that becomes the data set.
        layout: of the shards.
        progress: told after each shard: samples done and in all.
        run: where the shards are written.

    Raises:
        DataError: a sample cannot be read, or sizes differ and the layout names none.
    """
    generation = _generation(source, name, uri, layout)
    if info := generation.published:
        tidy(generation)
        return info
    keys, per_shard = source.keys(), samples_per_shard(source, layout)
    return publish(
        generation,
        shards=lambda: plan_shards(keys, per_shard, generation.name),
        make_part=partial(_make_part, source, layout, uri),
        run=run,
        progress=progress,
    )


def plan_dataset(source: Source, name: str, uri: str, layout: Layout) -> Plan:
    """Return what ``shard_dataset`` would do; nothing is written.

    Raises:
        DataError: see ``shard_dataset``.
    """
    generation = _generation(source, name, uri, layout)
    keys, per_shard = source.keys(), samples_per_shard(source, layout)
    total = num_shards(keys, per_shard)
    unfinished = generation.unfinished(plan_shards(keys, per_shard, generation.name))
    is_published = generation.published is not None
    return Plan(
        num_samples={split: len(split_keys) for split, split_keys in keys.items()},
        samples_per_shard=per_shard,
        num_shards=total,
        num_finished=total if is_published else total - sum(1 for _ in unfinished),
        generation=generation.name,
        is_published=is_published,
    )


def samples_per_shard(source: Source, layout: Layout) -> int:
    """Return how many samples go into a shard.

    A size in bytes is divided by the mean of a few samples: the same ones every time, so that the
    same source is always cut alike.

    Raises:
        DataError: such a sample cannot be read.
    """
    if layout.shard_size.unit == "samples":
        return layout.shard_size.amount
    split, keys = _most_samples(source.keys())
    probes = [
        encode(source.read(split, key), source.classes, layout, key)
        for key in evenly_spread(keys, _PROBES)
    ]
    if not probes:
        return 1
    total = sum(len(p.image) + len(p.label) + _TAR_BYTES_PER_SAMPLE for p in probes)
    return max(1, layout.shard_size.amount * len(probes) // total)


def _most_samples(keys: Keys) -> tuple[str, list[str]]:
    split = "train" if keys.get("train") else max(keys, key=lambda name: len(keys[name]))
    return split, list(keys[split])


def _generation(source: Source, name: str, uri: str, layout: Layout) -> Generation:
    identity = generation_name(source.fingerprint(), source.classes, layout)
    return Generation(uri, name, identity, source.classes)


def _make_part(source: Source, layout: Layout, uri: str, shard: Shard) -> Part:
    return write_shard(source, layout, open_folder(uri), shard)
