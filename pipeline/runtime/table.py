"""Trainings that were made before, as a table to replay searches on.

One row an epoch: the fields of the ``Architecture``, ``num_params``, ``macs``, ``seed``, ``epoch``,
``mean_iou``, ``train_loss``, ``train_s`` and ``val_s``. benchmarks/camvid_table.py writes one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.errors import DataError, UsageError, one_line
from pipeline.core.fields import count, number
from pipeline.core.peer import Network
from pipeline.core.space import Pool, SearchSpace

_MOST_NETWORKS = 10_000_000  # all that the values of the fields make together, trained or not
_COLUMNS = ("epoch", "seed", "mean_iou", "train_loss", "train_s", "val_s")


@dataclass(frozen=True, eq=False)
class TrainingTable:
    """Architectures with one or more trainings of each."""

    pool: Pool
    trainings: dict[str, list[list[EpochResult]]]  # by the architecture's id, then by seed

    def training_of(self, network: Network, seed: int) -> Sequence[EpochResult]:
        """Return the epochs of the seed-th training of a network, in turn."""
        known = self.trainings[network.id]
        return known[seed % len(known)]


def read_table(path: Path) -> TrainingTable:
    """Read the whole trainings of a Parquet file.

    Raises:
        UsageError: there is no such file.
        DataError: it cannot be read, or lacks a column.
    """
    if not path.is_file():
        raise UsageError(f"there is no table {path}")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as cause:
        raise DataError(f"{path} is no Parquet table: {one_line(cause)}") from cause
    names = [field.name for field in fields(Architecture) if rows and field.name in rows[0]]
    missing = [name for name in (*_COLUMNS, "num_classes") if not rows or name not in rows[0]]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}: see pipeline/runtime/table.py")
    try:
        return _table(rows, names, path.stem)
    except (TypeError, ValueError, OverflowError) as cause:
        raise DataError(f"{path} holds what is no training ({one_line(cause)})") from cause


def _table(rows: list[dict[str, Any]], names: list[str], name: str) -> TrainingTable:
    architectures: dict[str, Architecture] = {}
    curves: dict[tuple[str, int], list[EpochResult]] = {}
    for row in sorted(rows, key=lambda row: (row["seed"], row["epoch"])):
        architecture = Architecture.from_dict({n: row[n] for n in names if row[n] is not None})
        architectures[architecture.id] = architecture
        curves.setdefault((architecture.id, row["seed"]), []).append(_epoch(row))
    epochs = max(len(curve) for curve in curves.values())
    trainings: dict[str, list[list[EpochResult]]] = {}
    for (key, _), curve in curves.items():
        if len(curve) == epochs:
            whole = [replace(result, epochs=epochs) for result in curve]
            trainings.setdefault(key, []).append(whole)
    return TrainingTable(_pool([architectures[key] for key in trainings], name), trainings)


def _epoch(row: dict[str, Any]) -> EpochResult:
    return EpochResult(
        epoch=count(row["epoch"], least=1),
        epochs=count(row["epoch"], least=1),
        train_loss=float(row["train_loss"]),
        mean_iou=number(row["mean_iou"]),
        class_iou=(),
        train_s=number(row["train_s"]),
        val_s=number(row["val_s"]),
    )


def _pool(architectures: list[Architecture], name: str) -> Pool:
    """Return these architectures, and no other, as a pool."""
    varied = {
        field.name: tuple(dict.fromkeys(getattr(a, field.name) for a in architectures))
        for field in fields(Architecture)
        if field.name != "num_classes"
    }
    if math.prod(map(len, varied.values())) > _MOST_NETWORKS:
        raise ValueError(f"its fields make more than {_MOST_NETWORKS:,} networks")
    choices = {key: tuple(sorted(values)) for key, values in varied.items() if len(values) > 1}
    space = SearchSpace(name, choices or {"num_blocks_2": varied["num_blocks_2"]})
    whole = space.pool(architectures[0].num_classes)
    rows = [row for a in architectures if (row := whole.row_of(a)) is not None]
    return whole.keep(np.isin(np.arange(len(whole)), rows))
