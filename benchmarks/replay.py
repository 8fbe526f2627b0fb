"""Every sampler on real trainings: a table of benchmarks/camvid_table.py, replayed.

    python -m benchmarks.replay TABLE [--seeds 24] [--floor 0.4] [--plot FILE.png]

Prints after how many epochs of training a search has 95 % of the hypervolume of the table's own
front, over seeds of the search; one that ends without counts as all epochs of the table. The front
is chosen by the trainings that the search saw, and scored by the mean of all that the table has of
a network.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
import tyro

from benchmarks.plot import draw
from benchmarks.report import print_setting, print_table
from benchmarks.search import METHODS, Array, Method, in_order, interval
from pipeline.core.effort import Effort
from pipeline.core.front import hypervolume, pareto_front
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.table import TrainingTable, read_table

SHARE = 0.95
SHOWN = (100, 200, 400)
RIVAL = "tpe"
NAMES = (
    "ehvi + front",
    "ehvi",
    "tpe",
    "gp",
    "nsga2",
    "random",
    "random + front",
    "random + asha",
    "ehvi + asha",
)


@dataclass(frozen=True)
class Options:
    """Compare searches on a table of trainings."""

    table: tyro.conf.Positional[Path]
    seeds: int = 24
    floor: float | None = None
    """Mean IoU below which no network counts; that of the table's worst unless given."""
    budget: int = 500_000
    methods: tuple[str, ...] = NAMES
    processes: int = 1
    """At a time."""
    plot: Path | None = None
    """File for the figure."""


@dataclass(frozen=True)
class Replay:
    """The table as all searches see it, and what is true in it: means, by a network's id."""

    table: TrainingTable
    truth: dict[str, float]
    budget: int
    floor: float

    def score(self, trials: Sequence[TrialRecord]) -> float:
        """Return the true hypervolume of the front that the trials' own trainings choose."""
        front = pareto_front([(trial.num_params, -trial.mean_iou) for trial in trials])
        points = [(trials[i].num_params, -self.truth[trials[i].architecture.id]) for i in front]
        return hypervolume(points, (self.budget, -self.floor))

    def best(self) -> float:
        """Return the hypervolume of the table's own front."""
        pool = self.table.pool
        networks = ((pool.num_params[row], pool.architecture(row)) for row in range(len(pool)))
        points = [(size, -self.truth[network.id]) for size, network in networks]
        return hypervolume(points, (self.budget, -self.floor))


@cache
def _opened(path: Path, budget: int, floor: float | None) -> Replay:
    table = read_table(path)
    truth = {
        network_id: float(np.mean([one[-1].mean_iou for one in trainings]))
        for network_id, trainings in table.trainings.items()
    }
    return Replay(table, truth, budget, min(truth.values()) if floor is None else floor)


def shares(options: Options, method: Method, seed: int) -> Array:
    """Return the share of the best hypervolume that a search has after each epoch it trained."""
    replay = _opened(options.table, options.budget, options.floor)
    pool, best = replay.table.pool, replay.best()
    settings = {"budget": options.budget, "floor": replay.floor}
    strategy = Strategy(method.sampler, method.stopping)
    storage = optuna.storages.InMemoryStorage()
    study = Study(storage, "s", pool, settings, seed=seed, strategy=strategy)
    simulate(
        study,
        lambda trial: replay.table.training_of(trial.architecture, seed),
        workers=method.workers,
        effort=Effort(trials=len(pool)),
    )
    events = in_order(study.trials())
    done: list[TrialRecord] = []
    found = np.zeros(len(events))
    for spent, (trial, epoch) in enumerate(events):
        if trial.state is State.COMPLETE and epoch == len(trial.results):
            done.append(trial)
            found[spent:] = replay.score(done) / best
    return found


def epochs_to(share: float, found: Array, whole: int) -> float:
    """Return after how many epochs a search has a share; all of the table's where it never does."""
    return float(np.argmax(found >= share)) + 1.0 if found.max() >= share else float(whole)


def share_at(spent: int, found: Array) -> float:
    """Return what a search has after so many epochs, or at its end where that comes before."""
    return float(found[min(spent, len(found)) - 1])


def main() -> None:
    """Replay, print the table and draw the figure."""
    options = tyro.cli(Options)
    replay = _opened(options.table, options.budget, options.floor)
    found = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as executor:
        for name in options.methods:
            jobs = [(options, METHODS[name], seed) for seed in range(options.seeds)]
            found[name] = list(executor.map(shares, *zip(*jobs, strict=True)))
    trainings = sum(map(len, replay.table.trainings.values()))
    print_setting(
        f"{len(replay.table.pool)} networks, {trainings} trainings; hypervolume "
        f"{replay.best():,.0f} parameters x mIoU above {replay.floor:.1%}; "
        f"{options.seeds} seeds a method."
    )
    whole = sum(len(of_network[0]) for of_network in replay.table.trainings.values())
    needed = {
        name: np.array([epochs_to(SHARE, one, whole) for one in of_seeds])
        for name, of_seeds in found.items()
    }
    rows = []
    for name, epochs in needed.items():
        low, high = interval(epochs)
        ratio = needed[RIVAL].mean() / epochs.mean() if RIVAL in needed else np.nan
        ends = found[name]
        rows.append(
            (
                name,
                f"{epochs.mean():.0f} [{low:.0f}, {high:.0f}]",
                f"{np.median(epochs):.0f}",
                f"{sum(one.max() >= SHARE for one in ends)} of {len(ends)}",
                f"{ratio:.2f}",
                *(f"{np.mean([share_at(spent, one) for one in ends]):.3f}" for spent in SHOWN),
                f"{np.mean([one[-1] for one in ends]):.3f}",
            )
        )
    head = ("method", f"epochs to {SHARE:.0%} [95 %]", "median", "reached by", f"{RIVAL} / this")
    print_table((*head, *(f"at {spent}" for spent in SHOWN), "at its end"), rows)
    if options.plot:
        against, share_of = "epochs trained", "the table's hypervolume"
        draw({"": found}, options.plot, against=against, share_of=share_of, level=SHARE)


if __name__ == "__main__":
    main()
