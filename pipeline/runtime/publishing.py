"""From shards to a data set: unfinished shards are worked on, parts merged, ``dataset.json`` last.

The shards' records lie in a generation folder named by what they were made of. ``dataset.json``
names the generation: until it is written readers see the data set before, or none.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType

from pipeline.core.errors import DataError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, ClassTable, DatasetInfo
from pipeline.learning.folder import Folder, exists, open_whole, read_bytes, write_bytes
from pipeline.learning.records import SCHEMA
from pipeline.runtime.parts import (
    Part,
    finished_parts,
    part_path,
    parts_folder,
    read_parts,
    write_part,
)
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import Run
from pipeline.runtime.totals import Totals, require_one_size

_ROWS_PER_GROUP = 4_096  # of the manifest; as many are in memory at a time
_GENERATION = re.compile("[0-9a-f]{12}")
_IN_GENERATION = re.compile(r"manifest\.parquet|parts|\w+-\d{6}\.tar(\.partial)?")

Progress = Callable[[int, int], None]  # work done, work in all; told of 0 when work begins


class Pending(Protocol):
    """A shard to be worked on: its path, and how much work it is."""

    @property
    def path(self) -> str:
        """Where the shard is or will be, below the data set's folder."""
        ...

    @property
    def work(self) -> int:
        """How much it counts in the progress."""
        ...


S = TypeVar("S", bound=Pending)


@dataclass(frozen=True)
class Generation:
    """One state of a data set to be made: where, under which names, of which classes."""

    uri: str
    dataset: str
    name: str
    classes: ClassTable

    @property
    def folder(self) -> Folder:
        """Return the data set's folder; it may not exist yet."""
        return open_folder(self.uri, create=False)

    @property
    def published(self) -> DatasetInfo | None:
        """Return the description if this is what the folder holds already."""
        if not exists(self.folder, DATASET_FILE):
            return None
        try:
            info = DatasetInfo.from_json(read_bytes(self.folder, DATASET_FILE))
        except DataError:  # of another schema version, or damaged: it is made again
            return None
        return info if info.generation == self.name else None

    def unfinished(self, shards: Iterable[S]) -> Iterator[S]:
        """Yield the shards that have no part yet."""
        finished = finished_parts(self.folder, self.name)
        return (shard for shard in shards if part_path(self.name, shard.path) not in finished)


def publish(
    generation: Generation,
    shards: Callable[[], Iterable[S]],
    make_part: Callable[[S], Part],
    run: Run,
    progress: Progress,
) -> DatasetInfo:
    """Work on the shards that are unfinished, then make the data set of all of them.

    Args:
        generation: what to make.
        shards: returns all shards in stored order, the same at each call.
        make_part: what is done with a shard; picklable.
        run: where it is done.
        progress: told after each shard.

    Raises:
        DataError: a shard cannot be made or the shards do not go together.
    """
    try:
        _work(generation, shards, make_part, run, progress)
        info = _merge(generation, (shard.path for shard in shards()))
        write_bytes(generation.folder, DATASET_FILE, info.to_json().encode())
        tidy(generation)
    except OSError as cause:
        raise DataError(f"{generation.uri} cannot be written: {cause}") from cause
    return info


def _work(
    generation: Generation,
    shards: Callable[[], Iterable[S]],
    make_part: Callable[[S], Part],
    run: Run,
    progress: Progress,
) -> None:
    total = sum(shard.work for shard in generation.unfinished(shards()))
    task = _MakeAndKeep(generation, make_part)
    done = 0
    seen: set[tuple[int, int]] = set()
    results = run(task, generation.unfinished(shards()))
    progress(0, total)
    for shard, sizes in results:
        done += shard.work
        seen |= sizes
        require_one_size(seen)  # told after the first shards, not after the last
        progress(done, total)


@dataclass(frozen=True)
class _MakeAndKeep:
    """Makes the part of a shard and writes it; returns no more than the sizes that occur."""

    generation: Generation
    make_part: Callable[..., Part]

    def __call__(self, shard: Pending) -> set[tuple[int, int]]:
        part = self.make_part(shard)
        path = part_path(self.generation.name, shard.path)
        write_part(self.generation.folder, path, part)
        return part.sizes


def _merge(generation: Generation, shards: Iterable[str]) -> DatasetInfo:
    """Write the manifest; a bounded number of records is in memory at any time."""
    folder, name = generation.folder, generation.name
    totals = Totals(generation.classes)
    tables: list[pa.Table] = []
    with (
        open_whole(folder, f"{name}/{MANIFEST_FILE}") as stream,
        pq.ParquetWriter(stream, SCHEMA) as manifest,
    ):
        for part in read_parts(folder, (part_path(name, shard) for shard in shards)):
            totals.add(part)
            tables.append(part.records)
            if sum(map(len, tables)) >= _ROWS_PER_GROUP:
                manifest.write_table(pa.concat_tables(tables))
                tables.clear()
        if tables:
            manifest.write_table(pa.concat_tables(tables))
    return totals.describe(generation.dataset, name)


def tidy(generation: Generation) -> None:
    """Delete what no reader can find any more: parts, and generations before this one."""
    folder, name = generation.folder, generation.name
    entries = folder.get_file_info(FileSelector(""))
    for old in [info.base_name for info in entries if info.type == FileType.Directory]:
        if old != name and _is_generation(folder, old):
            folder.delete_dir(old)
    if folder.get_file_info(parts_folder(name)).type == FileType.Directory:
        folder.delete_dir(parts_folder(name))


def _is_generation(folder: Folder, name: str) -> bool:
    """Return whether a folder is one of ours: others may have folders with such names too."""
    if not _GENERATION.fullmatch(name):
        return False
    inside = folder.get_file_info(FileSelector(name))
    return all(_IN_GENERATION.fullmatch(info.base_name) for info in inside)
