"""Which decay kills filters, and what that costs: M3N21 on small CamVid, compacted.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 36x48 --output DATA
    nice -n 19 python -m benchmarks.decay --dataset DATA --work WORK --trainings 27
    python -m benchmarks.decay --dataset DATA --work WORK --time

Every training is kept in WORK and goes on where it was; each call prints the table of those that
are complete. One seed of every decay comes first, then the next seed.

Adam moves a weight by no more than its rate a step. A norm's scale starts at 1: to see one die, the
rates must add up to several times that. Hence a rate and a number of steps that make 5.7 of it,
where the authors' 46,400 steps make 24 and 40 epochs of their recipe 1.
"""

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
import tyro

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, Decay, EpochResult, TrainConfig, TrialSpec
from pipeline.core.cost import count_parameters
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.measure import latencies, random_pictures
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset, open_dataset
from pipeline.learning.loop import train
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.storage import open_folder

EPOCHS, BATCH_SIZE, RATE, SEEDS = 40, 4, 3e-3, 3
DECAYS: tuple[tuple[Decay, float], ...] = (
    ("l2", 5e-4),  # the authors'
    ("l2", 2e-3),
    ("l2", 1e-3),
    ("l2", 0.0),
    ("scales", 2e-3),
    ("adamw", 5e-2),
    ("l2", 5e-3),
    ("scales", 1e-2),
)
_SIZE, _RUNS = (360, 480), 20


@dataclass(frozen=True)
class Options:
    """What to train on, where to keep it, how much to do."""

    dataset: str
    work: Path
    trainings: int = 0
    """Trainings that are to be complete at the end of this call, those before it included."""
    time: bool = False
    """Time each network of the first seed at 360x480, before and after: on a quiet machine."""


@dataclass(frozen=True)
class Row:
    """One complete training."""

    decay: Decay
    strength: float
    seed: int
    mean_iou: float
    deployed: int
    differing: int  # labels on val that compaction changed
    folder: Path


def planned() -> Iterator[tuple[Decay, float, int]]:
    """Yield kind, strength and seed of each training in the order they are made."""
    yield from ((*decay, seed) for seed in range(SEEDS) for decay in DECAYS)


def segmenters(folder: Path) -> tuple[Segmenter, Segmenter]:
    """Return a trained network as it is and compacted."""
    original = Segmenter.from_bytes((folder / WEIGHTS_FILE).read_bytes())
    smaller = compact(original.model, original.deployment.architecture).network
    return original, Segmenter(smaller, original.deployment)


def labels_differing(folder: Path, dataset: Dataset) -> int:
    """Return how many pixels of val get another label by the compacted network."""
    both, val = segmenters(folder), dataset.split("val")
    count = 0
    for index in range(len(val)):
        one, other = (each.label(val[index].image_HWC[None].copy()) for each in both)
        count += int((one != other).sum())
    return count


def trained(options: Options, dataset: Dataset, decay: Decay, strength: float, seed: int) -> Row:
    """Train to the end, or read what was."""
    training = TrainConfig(
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=RATE,
        weight_decay=strength,
        decay=decay,
    )
    info = dataset.info
    network = Architecture(info.classes.num_classes)
    spec = TrialSpec(network, DataConfig("camvid", info.fingerprint), training, seed)
    folder = options.work / f"{decay}-{strength:g}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    data = dataset, dataset.split("train"), dataset.split("val")
    last: EpochResult
    *_, last = train(spec, LocalContext(open_folder(str(folder)), data))
    assert last.deployed_parameters is not None
    differing = labels_differing(folder, dataset)
    return Row(decay, strength, seed, last.mean_iou, last.deployed_parameters, differing, folder)


def table(rows: list[Row], built: int) -> list[str]:
    """Return the figures over seeds as Markdown, in the order of planning."""
    lines = [
        "| decay | strength | seeds | val mIoU % | deployed parameters | of built | labels off |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    order = {decay: number for number, decay in enumerate(sorted(DECAYS))}
    rows = sorted(rows, key=lambda row: (order[row.decay, row.strength], row.seed))
    for (decay, strength), group in groupby(rows, lambda row: (row.decay, row.strength)):
        alike = list(group)
        scores = [100 * row.mean_iou for row in alike]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        size = statistics.fmean(row.deployed for row in alike)
        lines.append(
            f"| {decay} | {strength:g} | {len(alike)} | {statistics.fmean(scores):.2f}{spread} "
            f"| {size:,.0f} | {100 * size / built:.1f} % | {sum(r.differing for r in alike)} |"
        )
    return lines


def timings(rows: list[Row]) -> list[str]:
    """Return the CPU's time for one picture of each network of the first seed, in turns."""
    (picture,) = random_pictures((_SIZE,), seed=0)
    picture = picture.to(memory_format=torch.channels_last)  # as a Segmenter has it
    lines = ["| decay | strength | ms as trained | compacted | batch norm folded | gain |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in (row for row in rows if row.seed == 0):
        original, smaller = segmenters(row.folder)
        folded = compact(original.model, original.deployment.architecture, fold_bn=True).network
        models = original.model, smaller.model, folded
        before, after, least = (1e3 * s for s in latencies(models, picture, _RUNS))
        lines.append(
            f"| {row.decay} | {row.strength:g} | {before:.1f} | {after:.1f} | {least:.1f} "
            f"| {before / after:.2f}x, {before / least:.2f}x |"
        )
    return lines


def main() -> None:
    """Train what is asked for, then print what there is."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    dataset = open_dataset(open_folder(options.dataset))
    rows = []
    for number, (decay, strength, seed) in enumerate(planned()):
        folder = options.work / f"{decay}-{strength:g}-{seed}"
        if number >= options.trainings and not (folder / WEIGHTS_FILE).exists():
            continue
        rows.append(trained(options, dataset, decay, strength, seed))
        row = rows[-1]
        sys.stderr.write(f"{decay} {strength:g} seed {seed}: {row.mean_iou:.4f} {row.deployed:,}\n")
    built = count_parameters(Architecture(dataset.info.classes.num_classes))
    print("\n".join(table(rows, built)))
    if options.time:
        print("\n".join(["", *timings(rows)]))


if __name__ == "__main__":
    main()
