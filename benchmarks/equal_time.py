"""Equal time on CamVid: our default recipe and loop against the paper's recipe in a plain loop.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 180x240 --output D
    python -m benchmarks.equal_time --dataset D [--minutes 15] [--seeds 3]

Both train M3N21 on two threads, in turns: nothing else should run. The plain loop is that of
``benchmarks.step`` with the authors' Adam, rate and augmentation; its pictures come from our
loader, and it stops when MINUTES are over. Ours, whose schedule wants to know its length, times two
epochs and takes as many as fit. The table has the minutes that the training then took.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, count
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.report import print_setting, print_table, say
from benchmarks.step import ARCHITECTURE, BATCH_SIZE, be_plain
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.learning import loop
from pipeline.learning.augment import augment, normalise
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset, open_dataset
from pipeline.learning.evaluation import evaluate
from pipeline.learning.folder import read_bytes
from pipeline.learning.loader import TrainLoader
from pipeline.learning.metrics import mean_iou
from pipeline.learning.network import build
from pipeline.learning.weights import WEIGHTS_FILE, load_weights
from pipeline.runtime.environment import ALLOCATOR
from pipeline.runtime.storage import open_folder

_RATE, _DECAY, _POWER, _SCALES = 1e-3, 5e-4, 0.9, (0.5, 2.0)
_THREADS, _TIMED_EPOCHS = 2, 2


class Trained(NamedTuple):
    """A network, and the steps and minutes that it took."""

    model: nn.Module
    steps: int
    minutes: float


def train_plainly(data: Dataset, minutes: float, seed: int) -> Trained:
    """Train as the authors do, in the loop that comes to mind first."""
    info, ignore = data.info, data.info.classes.ignore_index
    torch.manual_seed(seed)
    be_plain()
    model = build(ARCHITECTURE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    loss_of = nn.CrossEntropyLoss(torch.tensor(info.class_weights), ignore_index=ignore)
    view = partial(augment, scale_range=_SCALES, fill=info.mean, ignore_index=ignore)
    loader = TrainLoader(
        data.split("train"), batch_size=BATCH_SIZE, seed=seed, view=view, num_threads=_THREADS
    )
    began, steps, took = time.perf_counter(), 0, 0.0
    for image, label in chain.from_iterable(map(loader.epoch, count())):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - took / minutes) ** _POWER
        optimizer.zero_grad()
        loss = loss_of(model(normalise(image, info.mean, info.std)), label.long())
        loss.backward()
        optimizer.step()
        steps, took = steps + 1, (time.perf_counter() - began) / 60
        if took >= minutes:
            break
    return Trained(model, steps, took)


def train_ours(data: Dataset, minutes: float, seed: int) -> Trained:
    """Train by the default recipe in the pipeline's loop, as many epochs as fit."""
    epochs = max(1, int(minutes / train_epochs(data, _TIMED_EPOCHS, seed).minutes * _TIMED_EPOCHS))
    return train_epochs(data, epochs, seed)


def train_epochs(data: Dataset, epochs: int, seed: int) -> Trained:
    """Train so many; it looks at one batch of val after each."""
    spec = TrialSpec(ARCHITECTURE, DataConfig("", ""), TrainConfig(epochs=epochs), seed)
    train = data.split("train")
    glance = replace(data, records=data.records.of_split("val")[:BATCH_SIZE]).split("val")
    began = time.perf_counter()
    with TemporaryDirectory() as path:
        folder = open_folder(path)
        for _ in loop.train(spec, LocalContext(folder, (data, train, glance))):
            pass
        took = (time.perf_counter() - began) / 60
        model, _ = load_weights(read_bytes(folder, WEIGHTS_FILE))
    return Trained(model, len(train) // BATCH_SIZE * epochs, took)


LOOPS: dict[str, Callable[[Dataset, float, int], Trained]] = {
    "plain": train_plainly,
    "ours": train_ours,
}


def one_training(uri: str, name: str, seed: int, minutes: float) -> dict[str, Any]:
    """Return what a training of so many minutes came to."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(_THREADS)
    data = open_dataset(open_folder(uri))
    trained = LOOPS[name](data, minutes, seed)
    with TemporaryDirectory() as path:
        context = LocalContext(open_folder(path), (data, data.split("train"), data.split("val")))
        confusion_KK = evaluate(trained.model, data.split("val"), data, context)
    return {
        "steps": trained.steps,
        "minutes": trained.minutes,
        "mean_iou": mean_iou(confusion_KK),
    }


def in_process(options: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Train in a process of its own."""
    arguments = ("--dataset", options.dataset, "--minutes", str(options.minutes))
    command = [sys.executable, "-m", "benchmarks.equal_time", *arguments, "--one", name, str(seed)]
    tuned = {} if name == "plain" else ALLOCATOR
    done = subprocess.run(
        command, env=os.environ | tuned, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Train in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, seed = options.one
        print(json.dumps(one_training(options.dataset, name, int(seed), options.minutes)))
        return
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in LOOPS}
    for seed in range(options.seeds):
        for name in LOOPS:
            results[name].append(in_process(options, name, seed))
            say(f"{name}, seed {seed}: {results[name][-1]}")
    print_setting(f"CGNet M3N21 on {options.dataset}, batch {BATCH_SIZE}, two threads.")
    print_table(
        ("loop", "seed", "steps", "minutes", "val mIoU %"),
        [
            [
                *(name, str(seed), str(run["steps"])),
                *(f"{run['minutes']:.1f}", f"{run['mean_iou'] * 100:.2f}"),
            ]
            for name, runs in results.items()
            for seed, run in enumerate(runs)
        ],
    )
    for name, runs in results.items():
        scores = [run["mean_iou"] * 100 for run in runs]
        print(f"{name}: {statistics.fmean(scores):.2f} ± {statistics.pstdev(scores):.2f}")


if __name__ == "__main__":
    main()
