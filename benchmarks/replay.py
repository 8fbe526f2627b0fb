"""Every sampler on real trainings: a table of benchmarks/camvid_table.py, replayed.

    python -m benchmarks.replay TABLE [--seeds 24] [--floor 0.4]

Prints after how many epochs of training a search has 95 % of the hypervolume of the table's own
front, over seeds of the search. The front is chosen by the trainings that the search saw, and
scored by the mean of all that the table has of a network.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
import tyro

from benchmarks.report import print_setting, print_table
from benchmarks.search import METHODS, Method, interval
from pipeline.core.effort import Effort
from pipeline.core.front import hypervolume, pareto_front
from pipeline.runtime.records import State
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Strategy, Study
from pipeline.runtime.table import TrainingTable, read_table

SHARE = 0.95
RIVAL = "tpe"
NAMES = ("ehvi + front", "ehvi", "tpe", "gp", "nsga2", "random", "random + front", "random + asha")


@dataclass(frozen=True)
class Options:
    """Compare searches on a table of trainings."""

    table: tyro.conf.Positional[Path]
    seeds: int = 24
    floor: float = 0.4
    """Mean IoU below which no network counts."""
    budget: int = 500_000
    methods: tuple[str, ...] = NAMES
    processes: int = 1
    """At a time."""


@dataclass(frozen=True)
class Replay:
    """The table as all searches see it, and what is true in it."""

    table: TrainingTable
    budget: int
    floor: float

    def truth(self, network_id: str) -> float:
        """Return the mean over a network's trainings."""
        return float(np.mean([one[-1].mean_iou for one in self.table.trainings[network_id]]))

    def score(self, sizes: list[int], seen: list[float], ids: list[str]) -> float:
        """Return the true hypervolume of the front that seen values choose."""
        front = pareto_front([(size, -value) for size, value in zip(sizes, seen, strict=True)])
        points = [(sizes[index], -self.truth(ids[index])) for index in front]
        return hypervolume(points, (self.budget, -self.floor))

    def best(self) -> float:
        """Return the hypervolume of the table's own front."""
        pool = self.table.pool
        ids = [pool.architecture(row).id for row in range(len(pool))]
        return self.score(pool.num_params.tolist(), [self.truth(one) for one in ids], ids)


@cache
def _opened(path: Path, budget: int, floor: float) -> tuple[Replay, float]:
    replay = Replay(read_table(path), budget, floor)
    return replay, replay.best()


def epochs_needed(options: Options, method: Method, seed: int) -> int:
    """Return the epochs that a search trains until it has ``SHARE`` of the best hypervolume."""
    replay, best = _opened(options.table, options.budget, options.floor)
    settings = {"budget": options.budget, "floor": options.floor}
    strategy = Strategy(method.sampler, method.stopping)
    storage = optuna.storages.InMemoryStorage()
    study = Study(storage, "s", replay.table.pool, settings, seed=seed, strategy=strategy)
    simulate(
        study,
        lambda trial: replay.table.training_of(trial.architecture, seed),
        workers=method.workers,
        effort=Effort(trials=len(replay.table.pool)),
    )
    trials = {trial.number: trial for trial in study.trials()}
    events = sorted(
        (when, trial.number, epoch)
        for trial in trials.values()
        for epoch, when in enumerate(trial.reached_ms, 1)
    )
    sizes: list[int] = []
    seen: list[float] = []
    ids: list[str] = []
    for spent, (_, number, epoch) in enumerate(events, 1):
        trial = trials[number]
        if trial.state is State.COMPLETE and epoch == len(trial.results):
            sizes.append(trial.num_params)
            seen.append(trial.mean_iou)
            ids.append(trial.architecture.id)
            if replay.score(sizes, seen, ids) >= SHARE * best:
                return spent
    return len(events)  # noise has hidden a member of the front


def main() -> None:
    """Replay and print the table."""
    options = tyro.cli(Options)
    replay, best = _opened(options.table, options.budget, options.floor)
    needed = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as executor:
        for name in options.methods:
            jobs = [(options, METHODS[name], seed) for seed in range(options.seeds)]
            needed[name] = np.array(
                list(executor.map(epochs_needed, *zip(*jobs, strict=True))), float
            )
    trainings = sum(map(len, replay.table.trainings.values()))
    print_setting(
        f"{len(replay.table.pool)} networks, {trainings} trainings; hypervolume {best / 1e6:.4f} "
        f"million x mIoU above {options.floor:.0%}; {options.seeds} seeds a method."
    )
    rows = []
    for name, epochs in needed.items():
        low, high = interval(epochs)
        ratio = needed[RIVAL].mean() / epochs.mean() if RIVAL in needed else np.nan
        cells = (f"{epochs.mean():.0f} [{low:.0f}, {high:.0f}]", f"{np.median(epochs):.0f}")
        rows.append((name, *cells, f"{ratio:.2f}"))
    heads = ("method", f"epochs to {SHARE:.0%} [95 %]", "median", f"{RIVAL} / this")
    print_table(heads, rows)


if __name__ == "__main__":
    main()
