"""What one shard adds to the data set, kept beside the shards until all of them are written.

A part is written after its shard: a shard with a part is finished, whatever happened since.
"""

import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector

from pipeline.core.errors import DataError
from pipeline.core.fields import count, counts, text
from pipeline.learning.folder import Folder, read_bytes, write_bytes
from pipeline.learning.records import SCHEMA, check_rows
from pipeline.runtime.pictures import ChannelSums

_READ_AHEAD = 32  # parts in memory while they are merged
_METADATA = b"part"


@dataclass(frozen=True)
class Part:
    """The records of one shard as a table, the sums over its pictures, and their encoding."""

    records: pa.Table
    channels: ChannelSums
    encoding: str

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Return the (height, width) that occur."""
        height, width = (self.records.column(name).to_pylist() for name in ("height", "width"))
        return set(zip(height, width, strict=True))


def parts_folder(generation: str) -> str:
    """Return where the parts of a generation lie."""
    return f"{generation}/parts"


def part_path(generation: str, shard: str) -> str:
    """Return where the part of a shard lies; shards of others may lie in folders of their own."""
    name = shard.removeprefix(f"{generation}/").removesuffix(".tar").replace("/", ",")
    return f"{parts_folder(generation)}/{name}.parquet"


def finished_parts(folder: Folder, generation: str) -> set[str]:
    """Return the paths of the parts that are there."""
    selector = FileSelector(parts_folder(generation), allow_not_found=True)
    return {info.path for info in folder.get_file_info(selector) if info.extension == "parquet"}


def write_part(folder: Folder, path: str, part: Part) -> None:
    """Write the part of a shard that is written itself."""
    said = json.dumps({"channels": asdict(part.channels), "encoding": part.encoding})
    sink = io.BytesIO()
    pq.write_table(part.records.replace_schema_metadata({_METADATA: said}), sink)
    write_bytes(folder, path, sink.getvalue())


def read_parts(folder: Folder, paths: Iterable[str]) -> Iterator[Part]:
    """Yield parts in the order of their paths; a few are read ahead.

    Raises:
        DataError: a part is missing or no part.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(8) as pool:
        while batch := list(islice(remaining, _READ_AHEAD)):
            yield from pool.map(lambda path: _read_part(folder, path), batch)


def _read_part(folder: Folder, path: str) -> Part:
    content = read_bytes(folder, path)
    try:
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        said = json.loads(table.schema.metadata[_METADATA])
        table = table.replace_schema_metadata()
        if table.schema != SCHEMA:
            raise TypeError("its columns are other ones")
        check_rows(table)
        return Part(table, _sums(said["channels"]), text(said["encoding"]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, RecursionError) as cause:
        raise DataError(f"{path} cannot be read ({cause}): delete it and run again") from cause


def _sums(fields: dict[str, Any]) -> ChannelSums:
    sums, squares = counts(fields["sums"], 3), counts(fields["squares"], 3)
    return ChannelSums(count(fields["pixels"]), sums, squares)
