"""Equal time on CamVid: our default recipe and loop against the paper's recipe in a plain loop.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 180x240 --output D
    python -m benchmarks.equal_time --dataset D [--minutes 15] [--seeds 3]

Both train M3N21. First an epoch of each is timed on two threads, in turns: nothing else should run.
That tells how many epochs fit into MINUTES. Then both are trained for so long, on one thread each,
side by side and at low priority: what they come to hangs on their steps, and no longer on the
clock. The plain loop is that of ``benchmarks.step`` with the authors' Adam, rate and augmentation;
its pictures come from our loader.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.report import print_setting, print_table, say
from benchmarks.step import ARCHITECTURE, BATCH_SIZE, be_plain
from pipeline.core.config import DataConfig, TrialSpec, recipe
from pipeline.learning import loop
from pipeline.learning.augment import augment
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset
from pipeline.learning.evaluation import evaluate
from pipeline.learning.folder import read_bytes
from pipeline.learning.loader import TrainLoader
from pipeline.learning.metrics import mean_iou
from pipeline.learning.network import build
from pipeline.learning.normalisation import normalise
from pipeline.learning.weights import WEIGHTS_FILE, load_weights
from pipeline.runtime.environment import ALLOCATOR
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

_RATE, _DECAY, _POWER, _SCALES = 1e-3, 5e-4, 0.9, (0.5, 2.0)
_TIMED_EPOCHS, _ROUNDS = 3, 3
_LONG = 50  # epochs, of whose recipe those are

Training = Iterator[nn.Module | None]  # a step of the iterator an epoch; the network after the last


def train_plainly(data: Dataset, epochs: int, seed: int) -> Training:
    """Train as the authors do, in the loop that comes to mind first."""
    info, ignore = data.info, data.info.classes.ignore_index
    train = data.split("train")
    torch.manual_seed(seed)
    be_plain()
    model = build(ARCHITECTURE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    loss_of = nn.CrossEntropyLoss(torch.tensor(info.class_weights), ignore_index=ignore)
    view = partial(augment, scale_range=_SCALES, fill=info.mean, ignore_index=ignore)
    loader = TrainLoader(train, batch_size=BATCH_SIZE, seed=seed, view=view)
    steps = len(train) // BATCH_SIZE
    for epoch in range(epochs):
        for step, (image, label) in enumerate(loader.epoch(epoch)):
            progress = (epoch + step / steps) / epochs
            optimizer.param_groups[0]["lr"] = _RATE * (1 - progress) ** _POWER
            optimizer.zero_grad()
            picture = normalise(image.contiguous(), info.mean, info.std)
            loss = loss_of(model(picture), label.long())
            loss.backward()
            optimizer.step()
        yield model


def train_ours(data: Dataset, epochs: int, seed: int) -> Training:
    """Train by the default recipe in the pipeline's loop; it looks at one batch of val an epoch."""
    spec = TrialSpec(ARCHITECTURE, DataConfig("", ""), recipe("default", epochs), seed)
    glance = replace(data, records=data.records.of_split("val")[:BATCH_SIZE]).split("val")
    with TemporaryDirectory() as path:
        folder = open_folder(path)
        for result in loop.train(spec, LocalContext(folder, (data, data.split("train"), glance))):
            if result.is_last:
                yield load_weights(read_bytes(folder, WEIGHTS_FILE))[0]
            else:
                yield None


LOOPS: dict[str, Callable[[Dataset, int, int], Training]] = {
    "plain": train_plainly,
    "ours": train_ours,
}


def epoch_seconds(data: Dataset, name: str) -> float:
    """Return what an epoch of a long training takes once it has been warmed up."""
    first = islice(LOOPS[name](data, _LONG, 0), _TIMED_EPOCHS)
    ends = [time.perf_counter() for _ in first]
    return statistics.median(end - begin for begin, end in pairwise(ends))


def score(data: Dataset, name: str, epochs: int, seed: int) -> float:
    """Return the mean IoU on val after a training."""
    *_, model = LOOPS[name](data, epochs, seed)
    assert model is not None
    train, val = data.split("train"), data.split("val")
    with TemporaryDirectory() as path:
        context = LocalContext(open_folder(path), (data, train, val))
        return mean_iou(evaluate(model, val, data, context))


def start(dataset: str, name: str, *numbers: int) -> "subprocess.Popen[str]":
    """Start a process that times epochs of a loop, or trains: with (epochs, seed)."""
    words = [sys.executable, "-m", "benchmarks.equal_time", "--dataset", dataset, "--one", name]
    tuned = {} if name == "plain" else ALLOCATOR
    return subprocess.Popen(
        [*words, *map(str, numbers)], env=os.environ | tuned, stdout=subprocess.PIPE, text=True
    )


def one(dataset: str, name: str, *numbers: str) -> float:
    """Do what such a process does."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1 if numbers else 2)
    data = open_stored(dataset)
    if not numbers:
        return epoch_seconds(data, name)
    os.nice(10)
    epochs, seed = map(int, numbers)
    return score(data, name, epochs, seed)


def answer(process: "subprocess.Popen[str]") -> float:
    """Return what a process says."""
    return float(json.loads(process.communicate()[0]))


def main() -> None:
    """Time, train in pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.dataset, *options.one)))
        return
    timed: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(_ROUNDS):
        for name, found in timed.items():
            found.append(answer(start(options.dataset, name)))
    seconds = {name: statistics.median(found) for name, found in timed.items()}
    epochs = {name: max(1, round(options.minutes * 60 / took)) for name, took in seconds.items()}
    say(f"seconds an epoch {timed}, epochs {epochs}")
    scores: dict[str, list[float]] = {name: [] for name in LOOPS}
    for seed in range(options.seeds):
        pair = [start(options.dataset, name, epochs[name], seed) for name in LOOPS]
        for name, process in zip(LOOPS, pair, strict=True):
            scores[name].append(answer(process) * 100)
            say(f"{name}, seed {seed}: {scores[name][-1]:.2f}")
    print_setting(f"CGNet M3N21 on {options.dataset}, batch {BATCH_SIZE}.")
    print_table(
        ("loop", "s an epoch", f"epochs in {options.minutes:g} minutes", "val mIoU %", "mean", "±"),
        [
            [
                *(name, f"{seconds[name]:.1f}", str(epochs[name])),
                ", ".join(f"{score:.2f}" for score in found),
                *(
                    f"{statistics.fmean(found):.2f}",
                    f"{statistics.stdev(found):.2f}" if len(found) > 1 else "-",
                ),
            ]
            for name, found in scores.items()
        ],
    )


if __name__ == "__main__":
    main()
