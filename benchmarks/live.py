"""Live on CamVid, the same wall-clock: our search against Optuna's TPE in plain Ray Tune.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 72x96 --output DATA
    python -m benchmarks.live --dataset DATA --work WORK [--minutes 15] [--floor 40]

Ours is `pipeline.search` as a user calls it, its services included. The rival is what the two
libraries give without us: `Tuner` with `OptunaSearch`, TPE for accuracy and size, every training
to its end. Both train by our loop on the default space, on one thread each, as many at once as the
machine has cores; what is not complete after MINUTES does not count. A network over the budget
costs the rival nothing: it is told 0 at once. Then the networks of both fronts are trained again
with seeds that neither search saw, and the fronts are scored by the means.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import print_setting, print_table, say
from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.cost import count_parameters
from pipeline.core.front import hypervolume, pareto_front
from pipeline.core.space import load_space
from pipeline.learning.context import LocalContext
from pipeline.learning.loop import train
from pipeline.runtime import environment
from pipeline.runtime.records import State, read_record
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder
from pipeline.runtime.study_storage import reading_storage, study_names

SPACE = "cgnet"
FRESH_SEEDS = (101, 102)


@dataclass(frozen=True)
class Options:
    """What to search on, for how long, and where to keep it."""

    dataset: Path
    work: Path
    minutes: float = 15.0
    epochs: int = 12
    floor: float = 40.0
    """Mean IoU in % below which no network counts; both searches are scored with it."""
    budget: int = 500_000
    rival: bool = False
    """Run the rival's search alone, into WORK."""


@dataclass(frozen=True)
class Found:
    """A network that a search trained to the end, and what it had for it."""

    architecture: dict[str, Any]
    num_params: int
    mean_iou: float


def curve(
    options: Options, architecture: Architecture, seed: int, folder: Path
) -> list[EpochResult]:
    """Train a network to the end; what is in the folder goes on."""
    torch.set_num_threads(1)
    dataset = open_stored(str(options.dataset))
    config = DataConfig("camvid", dataset.info.fingerprint)
    spec = TrialSpec(architecture, config, TrainConfig(epochs=options.epochs), seed)
    data = dataset, dataset.split("train"), dataset.split("val")
    folder.mkdir(parents=True, exist_ok=True)
    return list(train(spec, LocalContext(open_folder(str(folder)), data)))


def ask(trial: Any) -> None:
    """Have Optuna choose a label for each choice of the space."""
    space = load_space(SPACE)
    for name in space.choices:
        trial.suggest_categorical(name, space.labels(name))


def search_plainly(options: Options) -> None:
    """Search as Ray Tune and Optuna do it by themselves; write what came to an end in time."""
    environment.configure(options.work)
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    space = load_space(SPACE)
    num_classes = open_stored(str(options.dataset)).info.classes.num_classes

    def trainable(labels: dict[str, Any]) -> None:
        architecture = space.architecture(labels, num_classes)
        size, accuracy = count_parameters(architecture), 0.0
        if size <= options.budget:
            folder = options.work / "trials" / tune.get_context().get_trial_id()
            accuracy = curve(options, architecture, 0, folder)[-1].mean_iou
            with (options.work / "plain.jsonl").open("a") as file:
                found = Found(asdict(architecture), size, accuracy)
                file.write(f"{json.dumps(asdict(found))}\n")
        tune.report({"mean_iou": accuracy, "size": size})

    cores = os.cpu_count() or 1
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    sampler = optuna.samplers.TPESampler(seed=0)
    searcher = OptunaSearch(ask, metric=["mean_iou", "size"], mode=["max", "min"], sampler=sampler)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=cores,
            time_budget_s=60 * options.minutes,
        ),
        run_config=tune.RunConfig(storage_path=str(options.work / "tune"), verbose=0),
    ).fit()


def plain(options: Options) -> list[Found]:
    """Return what the rival found in time."""
    path = options.work / "plain.jsonl"
    if not path.exists():
        words = [f"--{name}={value}" for name, value in asdict(options).items() if name != "rival"]
        whole = [sys.executable, "-m", "benchmarks.live", *words, "--rival"]
        process = subprocess.Popen(whole, stdout=sys.stderr)
        try:
            process.wait(60 * options.minutes)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
    return [Found(**json.loads(line)) for line in path.read_text().splitlines()]


def command(module: str, *words: str) -> None:
    """Run a command of ours that has to go well."""
    subprocess.run((sys.executable, "-m", f"pipeline.{module}", *words), check=True)


def ours(options: Options) -> list[Found]:
    """Return what our search found in time."""
    state, started = options.work / "state", options.work / "started"
    if not started.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        started.write_text(str(time.time()))
        words = {
            "dataset": options.dataset,
            "store": options.work / "store",
            "state-dir": state,
            "budget": options.budget,
            "space": SPACE,
            "epochs": options.epochs,
            "floor": options.floor,
            "time": f"{options.minutes:g}m",
            "confirm": 0,
        }
        flags = [f"--{name}={value}" for name, value in words.items()]
        try:
            command("search", *flags)
        finally:
            command("services", "down", f"--state-dir={state}")
    end_ms = 1e3 * (float(started.read_text()) + 60 * options.minutes)
    (name,) = study_names(state)
    study = reading_storage(state, name).get_study_id_from_name(name)
    trials = map(read_record, reading_storage(state, name).get_all_trials(study))
    return [
        Found(asdict(trial.architecture), trial.num_params, trial.mean_iou)
        for trial in trials
        if trial and trial.state is State.COMPLETE and trial.latest_ms <= end_ms
    ]


def front(found: list[Found]) -> list[Found]:
    """Return the networks that no other beats in both."""
    return [found[i] for i in pareto_front([(one.num_params, -one.mean_iou) for one in found])]


def retrained(options: Options, network: dict[str, Any], seed: int) -> float:
    """Return the mean IoU of a network on its front with a seed that no search saw."""
    architecture = Architecture.from_dict(network)
    folder = options.work / f"again-{architecture.id}-{seed}"
    return curve(options, architecture, seed, folder)[-1].mean_iou


def area(points: list[tuple[int, float]], options: Options) -> float:
    """Return the hypervolume in parameters times points of mean IoU above the floor."""
    reference = (options.budget, -options.floor / 100)
    return 100 * hypervolume([(size, -accuracy) for size, accuracy in points], reference)


def scored(options: Options, name: str, found: list[Found]) -> tuple[str, ...]:
    """Return a row of the table, for which the front is trained again."""
    chosen = front(found)
    say(f"{name}: {len(found)} trainings, {len(chosen)} on the front")
    jobs = [(options, one.architecture, seed) for one in chosen for seed in FRESH_SEEDS]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
        scores = list(processes.map(retrained, *zip(*jobs, strict=True)))
    means = np.array(scores).reshape(len(chosen), len(FRESH_SEEDS)).mean(1)
    for one, mean in zip(chosen, means, strict=True):
        label = Architecture.from_dict(one.architecture).label
        say(f"  {label} {one.num_params:,}: {one.mean_iou:.2%} claimed, {mean:.2%} again")
    claimed = area([(one.num_params, one.mean_iou) for one in chosen], options)
    again = area([(one.num_params, mean) for one, mean in zip(chosen, means, strict=True)], options)
    counts = str(len(found)), str(len(chosen))
    return (name, *counts, f"{claimed:,.0f}", f"{again:,.0f}", f"{max(means, default=0):.2%}")


def main() -> None:
    """Search twice, train the fronts again, print the table."""
    options = tyro.cli(Options)
    # Tune has its workers in folders of their own.
    options = replace(options, dataset=options.dataset.resolve(), work=options.work.resolve())
    if options.rival:
        search_plainly(options)
        return
    searches = {"ours": ours, "TPE in Ray Tune": plain}
    found = {name: search(options) for name, search in searches.items()}
    rows = [scored(options, name, trained) for name, trained in found.items()]
    print_setting(
        f"{options.minutes:g} minutes each, {options.epochs} epochs, space {SPACE}, budget "
        f"{options.budget:,}, floor {options.floor:g} %, fronts again with seeds {FRESH_SEEDS}."
    )
    head = ("search", "complete trainings", "front", "claimed area", "area again", "best again")
    print_table(head, rows)


if __name__ == "__main__":
    main()
