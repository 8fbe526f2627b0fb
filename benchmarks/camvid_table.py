"""Train architectures of the default space on CamVid, short and small: a table for replays.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 72x96 --output DATA
    python benchmarks/camvid_table.py --dataset DATA --work WORK --output docs/results/TABLE.parquet

Every training is kept in WORK and goes on where it was, so the table grows over several sittings;
each call writes the trainings that are complete by then. The order is fixed: one seed of every
architecture first, then more seeds of every fifth.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.cost import count_macs, count_parameters
from pipeline.core.space import Pool, load_space
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import open_dataset
from pipeline.learning.loop import train
from pipeline.runtime.storage import open_folder

EPOCHS = 12
NUM_ARCHITECTURES = 64
REPEATED = 5  # every fifth architecture has three seeds


@dataclass(frozen=True)
class Options:
    """What to train on, where to keep it, where to write the table."""

    dataset: str
    work: Path
    output: Path
    budget: int = 500_000
    shard: tuple[int, int] = (0, 1)
    """This process among those that share the work, such as 0 2 and 1 2."""


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


def rows(
    spec: TrialSpec, results: list[EpochResult], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Return one row an epoch."""
    about = {
        **spec.architecture.to_dict(),
        "architecture": spec.architecture.id,
        "num_params": count_parameters(spec.architecture),
        "macs": count_macs(spec.architecture, *size),
        "seed": spec.seed,
    }
    return [
        about
        | {
            "epoch": r.epoch,
            "mean_iou": r.mean_iou,
            "train_loss": r.train_loss,
            "train_s": r.train_s,
            "val_s": r.val_s,
        }
        for r in results
    ]


def main() -> None:
    """Train what is missing, then write the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    dataset = open_dataset(open_folder(options.dataset))
    data = dataset, dataset.split("train"), dataset.split("val")
    config = DataConfig("camvid", dataset.info.fingerprint)
    pool = load_space("cgnet").pool(dataset.info.classes.num_classes).within(options.budget)
    index, processes = options.shard
    table: list[dict[str, Any]] = []
    for architecture, seed in list(trainings(chosen(pool)))[index::processes]:
        spec = TrialSpec(architecture, config, TrainConfig(epochs=EPOCHS), seed)
        folder = options.work / f"{architecture.id}-{seed}"
        results = list(train(spec, LocalContext(open_folder(str(folder)), data)))
        table += rows(spec, results, dataset.info.image_size)
        done = f"{len(table) // EPOCHS}: {architecture.label} {results[-1].mean_iou:.4f}"
        sys.stderr.write(f"{done}\n")
    pq.write_table(pa.Table.from_pylist(table), options.output, compression="zstd")


if __name__ == "__main__":
    main()
