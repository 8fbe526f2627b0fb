"""Train architectures of the default space on CamVid, short and small: a table for replays.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 72x96 --output DATA
    python -m benchmarks.camvid_table --dataset DATA --output docs/results/TABLE.parquet

The table is written after each training, and a call trains what it lacks, so it grows over several
sittings. The order is fixed: one seed of every architecture first, then more seeds of every fifth.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro

from benchmarks.report import say
from pipeline.core.architecture import Architecture
from pipeline.core.config import RECIPES, DataConfig, EpochResult, TrialSpec
from pipeline.core.cost import count_macs, count_parameters
from pipeline.core.space import Pool, load_space
from pipeline.learning.context import LocalContext
from pipeline.learning.loop import train
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

EPOCHS = 12
NUM_ARCHITECTURES = 64
REPEATED = 5  # every fifth architecture has three seeds

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to train on, and where to write the table."""

    dataset: str
    output: Path
    budget: int = 500_000
    processes: int = 2
    """Trainings at once, each with one thread."""


def chosen(pool: Pool) -> list[Architecture]:
    """Return M3N21 and others drawn evenly over the sizes, in an order that spreads them early."""
    draw = np.random.default_rng(0)
    shares = np.array_split(np.arange(len(pool)), NUM_ARCHITECTURES - 1)
    drawn = [pool.architecture(int(draw.choice(share))) for share in shares]
    order = draw.permutation(len(drawn))
    return [Architecture(num_classes=pool.num_classes), *(drawn[i] for i in order)]


def trainings(architectures: list[Architecture]) -> Iterator[tuple[Architecture, int]]:
    """Yield (architecture, seed) in the order they are trained."""
    yield from ((architecture, 0) for architecture in architectures)
    for seed in (1, 2):
        yield from ((architecture, seed) for architecture in architectures[::REPEATED])


def curve(uri: str, architecture: Architecture, seed: int) -> list[Row]:
    """Train once; return one row an epoch."""
    torch.set_num_threads(1)
    dataset = open_stored(uri)
    data = dataset, dataset.split("train"), dataset.split("val")
    config = DataConfig("camvid", dataset.info.fingerprint)
    training = replace(RECIPES["sparse"], epochs=EPOCHS)
    spec = TrialSpec(architecture, config, training, seed)
    with TemporaryDirectory() as folder:
        results = list(train(spec, LocalContext(open_folder(folder), data)))
    return [row(spec, result, dataset.info.image_size) for result in results]


def row(spec: TrialSpec, result: EpochResult, size: tuple[int, int]) -> Row:
    """Return an epoch as the table holds it."""
    return {
        **spec.architecture.to_dict(),
        "architecture": spec.architecture.id,
        "data": spec.data.fingerprint,
        "num_params": count_parameters(spec.architecture),
        "macs": count_macs(spec.architecture, *size),
        "seed": spec.seed,
        "epoch": result.epoch,
        "mean_iou": result.mean_iou,
        "train_loss": result.train_loss,
        "train_s": result.train_s,
        "val_s": result.val_s,
    }


def written(path: Path, fingerprint: str) -> list[Row]:
    """Return the rows of earlier sittings.

    Raises:
        SystemExit: they are of other data.
    """
    rows: list[Row] = pq.read_table(path).to_pylist() if path.exists() else []
    if any(row["data"] != fingerprint for row in rows):
        raise SystemExit(f"{path} was trained on other data: write to another file")
    return rows


def write(rows: list[Row], path: Path) -> None:
    """Write the table whole."""
    half = path.with_suffix(".half")
    pq.write_table(pa.Table.from_pylist(rows), half, compression="zstd")
    half.replace(path)


def main() -> None:
    """Train what is missing."""
    options = tyro.cli(Options)
    os.environ["OMP_NUM_THREADS"] = "1"
    info = open_stored(options.dataset).info
    rows = written(options.output, info.fingerprint)
    done = {(row["architecture"], row["seed"]) for row in rows}
    pool = load_space("cgnet").pool(info.classes.num_classes).within(options.budget)
    missing = [(a, s) for a, s in trainings(chosen(pool)) if (a.id, s) not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context) as processes:
        curves = {processes.submit(curve, options.dataset, *one): one for one in missing}
        for left, future in enumerate(as_completed(curves), 1 - len(curves)):
            rows += future.result()
            write(rows, options.output)
            architecture, seed = curves[future]
            say(f"{-left} left, {architecture.label} seed {seed}: {rows[-1]['mean_iou']:.4f}")


if __name__ == "__main__":
    main()
