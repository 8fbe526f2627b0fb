"""Which decay kills filters, and what that costs: M3N21 on small CamVid, compacted.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 36x48 --output DATA
    nice -n 19 python -m benchmarks.decay --dataset DATA --work WORK --trainings 28

Every training is kept in WORK and goes on where it was; each call prints the table of those that
are complete. The questions that matter most get their three seeds first.

Adam moves a weight by no more than its rate a step, and the scale of a batch norm starts at 1: none
dies before the rates add up to several times that. The authors' 46,400 steps on CamVid make 24 of
it. Forty epochs of their recipe make 1, so that the other recipes here, with three times the rate
and half the batch, make 5.7; eight hundred make 19.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
import tyro

from benchmarks.report import say
from pipeline.core.architecture import Architecture
from pipeline.core.config import RECIPES as KNOWN
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.cost import count_parameters
from pipeline.learning.compact.compaction import compact
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset
from pipeline.learning.loop import train
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

AUTHORS = replace(KNOWN["paper"], epochs=40)
FASTER = replace(AUTHORS, batch_size=4, learning_rate=3e-3)
MAIN = {
    "authors": AUTHORS,
    "l2-0.0005": FASTER,
    "l2-0.002": replace(FASTER, weight_decay=2e-3),
    "l2-0.001": replace(FASTER, weight_decay=1e-3),
}
OTHERS = {
    "none": replace(FASTER, weight_decay=0.0),
    "scales-0.002": replace(FASTER, weight_decay=2e-3, optimizer="adam-scales"),
    "adamw-0.05": replace(FASTER, weight_decay=5e-2, optimizer="adamw"),
    "l2-0.005": replace(FASTER, weight_decay=5e-3),
    "scales-0.01": replace(FASTER, weight_decay=1e-2, optimizer="adam-scales"),
}
LONGER = {"authors-800": replace(AUTHORS, epochs=800)}
RECIPES = MAIN | OTHERS | LONGER
SEEDS = 3
HEADS = "| val mIoU % | deployed | of built | changed |"


@dataclass(frozen=True)
class Options:
    """What to train on, where to keep it, how much to do."""

    dataset: str
    work: Path
    trainings: int = 0
    """How many of the planned trainings to make, those that are there already included."""


@dataclass(frozen=True)
class Trained:
    """One complete training; ``differing`` are pixels of val that compaction labels otherwise."""

    mean_iou: float
    deployed: int
    differing: int


@dataclass(frozen=True)
class Row:
    """A training of the plan."""

    recipe: str
    seed: int
    trained: Trained
    folder: Path


def planned() -> Iterator[tuple[str, int]]:
    """Yield recipe and seed of each training in the order they are made."""
    for recipes in (MAIN, OTHERS):
        yield from ((recipe, seed) for seed in range(SEEDS) for recipe in recipes)
    yield from ((recipe, 0) for recipe in LONGER)


def trained(
    dataset: Dataset, network: Architecture, training: TrainConfig, seed: int, folder: Path
) -> Trained:
    """Train to the end, or read what was."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = TrialSpec(network, DataConfig("camvid", dataset.info.fingerprint), training, seed)
    splits = dataset, dataset.split("train"), dataset.split("val")
    *_, last = train(spec, LocalContext(open_folder(str(folder)), splits))
    assert last.deployed_parameters is not None, "it is the last epoch"
    return Trained(last.mean_iou, last.deployed_parameters, labels_differing(folder, dataset))


def labels_differing(folder: Path, dataset: Dataset) -> int:
    """Return how many pixels of val get another label by the compacted network."""
    original = Segmenter.from_bytes((folder / WEIGHTS_FILE).read_bytes())
    smaller = compact(original.model, original.deployment.architecture).network
    both, val = (original, Segmenter(smaller, original.deployment)), dataset.split("val")
    count = 0
    for index in range(len(val)):
        one, other = (each.label(val[index].image_HWC[None].copy()) for each in both)
        count += int((one != other).sum())
    return count


def table(rows: list[Row], built: int) -> list[str]:
    """Return the figures over seeds as Markdown, in the order of ``RECIPES``."""
    lines = [f"| decay | strength | batch | rate | epochs | seeds {HEADS}", "|---" * 10 + "|"]
    order = list(RECIPES)
    rows = sorted(rows, key=lambda row: (order.index(row.recipe), row.seed))
    for name, group in groupby(rows, lambda row: row.recipe):
        alike, recipe = [row.trained for row in group], RECIPES[name]
        lines.append(
            f"| {recipe.optimizer} | {recipe.weight_decay:g} | {recipe.batch_size} "
            f"| {recipe.learning_rate:g} | {recipe.epochs} | {len(alike)} {cells(alike, built)}"
        )
    return lines


def cells(alike: list[Trained], built: int) -> str:
    """Return what goes under ``HEADS``: means over trainings of one network by one recipe."""
    scores = [100 * one.mean_iou for one in alike]
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    size = statistics.fmean(one.deployed for one in alike)
    changed = sum(one.differing for one in alike)
    return (
        f"| {statistics.fmean(scores):.2f}{spread} | {size:,.0f} "
        f"| {100 * size / built:.1f} % | {changed} |"
    )


def main() -> None:
    """Train what is asked for, then print what there is."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    dataset = open_stored(options.dataset)
    rows = []
    network = Architecture(dataset.info.classes.num_classes)
    for number, (recipe, seed) in enumerate(planned()):
        folder = options.work / f"{recipe}-{seed}"
        if number < options.trainings or (folder / WEIGHTS_FILE).exists():
            done = trained(dataset, network, RECIPES[recipe], seed, folder)
            rows.append(Row(recipe, seed, done, folder))
            say(f"{recipe} seed {seed}: {done.mean_iou:.4f} {done.deployed:,}")
    print("\n".join(table(rows, count_parameters(network))))


if __name__ == "__main__":
    main()
