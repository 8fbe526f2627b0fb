"""The manifest's rows, in columns: a million samples take some 200 MB and open in a second."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.manifest import MANIFEST_FILE, SampleRecord

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("image_offset", pa.int64()),
        ("image_bytes", pa.int64()),
        ("label_offset", pa.int64()),
        ("label_bytes", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("class_pixels", pa.list_(pa.int64())),
        ("sha256", pa.string()),
    ]
)
_REPEATED = ["split", "shard"]  # read as codes into a list of the different ones


class Records(Sequence[SampleRecord]):
    """Sample records in stored order; one is made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._values = [
            _values(table.column(name).combine_chunks())
            for name in SampleRecord._fields
            if len(table)
        ]

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> SampleRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "Records": ...
    def __getitem__(self, index: int | slice) -> "SampleRecord | Records":
        if isinstance(index, slice):
            return Records(self._table.take(list(range(*index.indices(len(self))))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self)
        return SampleRecord(*[value(row) for value in self._values])

    def __iter__(self) -> Iterator[SampleRecord]:
        return (self[index] for index in range(len(self)))

    def shard_sizes(self) -> dict[str, int]:
        """Return for each shard where its last member ends, in bytes."""
        ends = [
            pc.add(self._table.column(f"{member}_offset"), self._table.column(f"{member}_bytes"))
            for member in ("image", "label")
        ]
        table = pa.table({"shard": self._table.column("shard"), "end": pc.max_element_wise(*ends)})
        last = table.group_by("shard").aggregate([("end", "max")])
        return {row["shard"]: row["end_max"] for row in last.to_pylist()}

    def image_sizes(self) -> set[tuple[int, int]]:
        """Return (height, width) of each size of picture that there is."""
        table = self._table.group_by(["height", "width"]).aggregate([])
        return {(row["height"], row["width"]) for row in table.to_pylist()}

    def shards_of(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the shards that samples lie in, each once, in the order of its first sample."""
        shards: list[str] = self._table.column("shard").take(indices).unique().to_pylist()
        return shards

    def of_split(self, split: str) -> "Records":
        """Return the records of one split, in stored order."""
        return Records(self._table.filter(pc.equal(self._table.column("split"), split)))


def _values(column: pa.Array) -> Callable[[int], Any]:
    """Return what gives the value of a row; pyarrow's own scalars take twice the time."""
    if pa.types.is_integer(column.type):
        value: Callable[[int], int] = column.to_numpy().item
        return value
    if pa.types.is_dictionary(column.type):
        words, code = column.dictionary.to_pylist(), column.indices.to_numpy().item
        return lambda row: words[code(row)]
    if pa.types.is_list(column.type):
        numbers, start = column.values.to_numpy(), column.offsets.to_numpy().item
        return lambda row: tuple(numbers[start(row) : start(row + 1)].tolist())
    return lambda row: column[row].as_py()


def records_table(records: Iterable[SampleRecord]) -> pa.Table:
    """Return records as a table of ``SCHEMA``."""
    return pa.Table.from_pylist([record._asdict() for record in records], schema=SCHEMA)


def write_records(records: Iterable[SampleRecord]) -> bytes:
    """Return the manifest as Parquet."""
    sink = io.BytesIO()
    pq.write_table(records_table(records), sink)
    return sink.getvalue()


def check_rows(table: pa.Table) -> None:
    """Make sure that every field of every row has a value that can be read.

    Raises:
        ValueError: one has not.
    """
    table.validate(full=True)  # Parquet is read without a look at UTF-8 and positions
    class_pixels = pc.list_flatten(table.column("class_pixels"))
    if any(column.null_count for column in (*table.columns, class_pixels)):
        raise ValueError("it has empty fields")


def read_records(content: bytes) -> Records:
    """Read what ``write_records`` wrote.

    Raises:
        DataError: it is no Parquet file with a manifest's columns.
    """
    try:
        table = pq.read_table(
            pa.BufferReader(content), columns=SCHEMA.names, read_dictionary=_REPEATED
        )
        if [field.type for field in table.drop(_REPEATED).schema] != [
            field.type for field in SCHEMA if field.name not in _REPEATED
        ]:
            raise TypeError("its columns have other types")
        check_rows(table)
        return Records(table.unify_dictionaries())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as cause:
        raise DataError(f"{MANIFEST_FILE} cannot be read ({cause}): preprocess again") from cause
