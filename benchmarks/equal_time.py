"""Equal time on CamVid: our default recipe and loop against the paper's recipe in a plain loop.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 180x240 --output D
    nice python -m benchmarks.equal_time --dataset D [--minutes 30] [--seeds 3]

Both train M3N21 on one thread each, side by side, so that whatever else runs slows both. The plain
loop is that of ``benchmarks.step`` with the authors' Adam, rate and augmentation; its pictures come
from our loader. Each times a few steps and takes as many epochs as fit into MINUTES of CPU time;
half of that on two cores is the same work. The table has the minutes that the training then took.
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
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.report import print_setting, print_table, say
from benchmarks.step import ARCHITECTURE, BATCH_SIZE, be_plain, measure
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
_TIMED_STEPS = 8


def train_plainly(data: Dataset, epochs: int, seed: int) -> nn.Module:
    """Train as the authors do, in the loop that comes to mind first."""
    info, ignore = data.info, data.info.classes.ignore_index
    train = data.split("train")
    torch.manual_seed(seed)
    be_plain()
    model = build(ARCHITECTURE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    loss_of = nn.CrossEntropyLoss(torch.tensor(info.class_weights), ignore_index=ignore)
    view = partial(augment, scale_range=_SCALES, fill=info.mean, ignore_index=ignore)
    loader = TrainLoader(train, batch_size=BATCH_SIZE, seed=seed, view=view, num_threads=1)
    steps = len(train) // BATCH_SIZE
    for epoch in range(epochs):
        for step, (image, label) in enumerate(loader.epoch(epoch)):
            progress = (epoch + step / steps) / epochs
            optimizer.param_groups[0]["lr"] = _RATE * (1 - progress) ** _POWER
            optimizer.zero_grad()
            loss = loss_of(model(normalise(image, info.mean, info.std)), label.long())
            loss.backward()
            optimizer.step()
    return model


def train_ours(data: Dataset, epochs: int, seed: int) -> nn.Module:
    """Train by the default recipe in the pipeline's loop; it looks at one batch of val an epoch."""
    spec = TrialSpec(ARCHITECTURE, DataConfig("", ""), TrainConfig(epochs=epochs), seed)
    glance = replace(data, records=data.records.of_split("val")[:BATCH_SIZE]).split("val")
    with TemporaryDirectory() as path:
        folder = open_folder(path)
        for _ in loop.train(spec, LocalContext(folder, (data, data.split("train"), glance))):
            pass
        model, _ = load_weights(read_bytes(folder, WEIGHTS_FILE))
    return model


LOOPS: dict[str, Callable[[Dataset, int, int], nn.Module]] = {
    "plain": train_plainly,
    "ours": train_ours,
}


def one_training(uri: str, name: str, seed: int, minutes: float) -> dict[str, Any]:
    """Return what a training of so many minutes of CPU came to."""
    torch.set_flush_denormal(True)
    data = open_dataset(open_folder(uri))
    step_s = measure(name, *data.info.image_size, steps=_TIMED_STEPS, threads=1)["cpu_s"]
    train, val = data.split("train"), data.split("val")
    steps = len(train) // BATCH_SIZE
    epochs = max(1, int(minutes * 60 / step_s / steps))
    started = time.process_time()
    model = LOOPS[name](data, epochs, seed)
    took = time.process_time() - started
    with TemporaryDirectory() as path:
        confusion_KK = evaluate(
            model, val, data, LocalContext(open_folder(path), (data, train, val))
        )
    return {
        "step_s": step_s,
        "steps": steps * epochs,
        "minutes": took / 60,
        "mean_iou": mean_iou(confusion_KK),
    }


def start(options: argparse.Namespace, name: str, seed: int) -> subprocess.Popen[str]:
    """Start a training in a process of its own."""
    arguments = ("--dataset", options.dataset, "--minutes", str(options.minutes))
    command = [sys.executable, "-m", "benchmarks.equal_time", *arguments, "--one", name, str(seed)]
    tuned = {} if name == "plain" else ALLOCATOR
    return subprocess.Popen(command, env=os.environ | tuned, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Train in pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, seed = options.one
        print(json.dumps(one_training(options.dataset, name, int(seed), options.minutes)))
        return
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in LOOPS}
    for seed in range(options.seeds):
        for name, process in [(name, start(options, name, seed)) for name in LOOPS]:
            results[name].append(json.loads(process.communicate()[0]))
            say(f"{name}, seed {seed}: {results[name][-1]}")
    print_setting(f"CGNet M3N21 on {options.dataset}, batch {BATCH_SIZE}, one thread each.")
    print_table(
        ("loop", "seed", "step, CPU ms", "steps", "CPU minutes", "val mIoU %"),
        [
            [
                *(name, str(seed), f"{run['step_s'] * 1e3:.0f}", str(run["steps"])),
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
