"""Every sampler and stopping rule on the synthetic table (benchmarks/synthetic.py), in one run.

    python -m benchmarks.search [--seeds 12] [--variant easy hard] [--methods ...]

Prints hypervolume, as a share of the true front's, against trial-equivalents of 27 epochs: mean and
95 % bootstrap interval over the seeds. The searches are the product's own, on a virtual clock.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
import tyro
from numpy.typing import NDArray

from benchmarks.plot import draw
from benchmarks.synthetic import BUDGET, EPOCHS, FLOOR, HARD, NUM_CLASSES, SPACE, Landscape
from pipeline.core.config import EpochResult
from pipeline.core.effort import Effort
from pipeline.core.space import Pool
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy

Array = NDArray[np.float64]

HORIZON = 80
SHOWN = (10, 20, 40, 80)
LEVEL = 0.97
VARIANTS = {"easy": {}, "hard": HARD}


@dataclass(frozen=True)
class Method:
    """One way to search."""

    sampler: str
    stopping: str = "none"
    workers: int = 1
    max_candidates: int = 2048

    @property
    def name(self) -> str:
        """Return it for the table."""
        parts = [self.sampler] + ([f"+ {self.stopping}"] if self.stopping != "none" else [])
        if self.workers > 1:
            parts.append(f"({self.workers} workers)")
        return " ".join(parts)


METHODS = {
    method.name: method
    for method in (
        Method("ehvi", "front"),
        Method("ehvi"),
        Method("ehvi", "front", workers=4),
        Method("ehvi", workers=4),
        Method("ehvi", "asha"),
        Method("tpe"),
        Method("tpe", workers=4),
        Method("tpe", "front"),
        Method("nsga2"),
        Method("random"),
        Method("random", "front"),
        Method("random", "asha"),
        Method("gp"),
    )
}


@dataclass(frozen=True)
class Options:
    """Compare searches on the synthetic table."""

    seeds: int = 12
    """Instances of the table, and searches a method."""
    first_seed: int = 0
    """The first of them."""
    variant: tuple[str, ...] = ("easy", "hard")
    """easy, hard or both."""
    methods: tuple[str, ...] = tuple(name for name in METHODS if name != "gp")
    """Which; gp (Optuna's GPSampler) takes about a second a proposal, so it must be asked for."""
    processes: int = 1
    """At a time."""
    output: Path | None = None
    """File for the table, beside the terminal."""
    plot: Path | None = None
    """File for the figure."""


@cache
def _pool() -> Pool:
    return SPACE.pool(NUM_CLASSES).within(BUDGET)


@dataclass(frozen=True)
class Trace:
    """One search: its hypervolume by trial-equivalents, and what it cost."""

    truth: Array  # (HORIZON,) of the front chosen by noisy values, scored by true ones
    claim: float  # what the noisy values say at the end
    trials: int
    proposal_s: float


def search(method: Method, variant: str, seed: int) -> Trace:
    """Search one instance of the table."""
    landscape = Landscape(seed, _pool(), **VARIANTS[variant])
    trainings: dict[int, Sequence[EpochResult]] = {}

    def training_of(trial: TrialRecord) -> Sequence[EpochResult]:
        if trial.row not in trainings:
            trainings[trial.row] = landscape.training(trial.row, seed)
        return trainings[trial.row]

    settings = {"budget": BUDGET, "floor": FLOOR}
    strategy = Strategy(method.sampler, method.stopping, method.max_candidates)
    storage = optuna.storages.InMemoryStorage()
    study = Study(storage, "s", _pool(), settings, seed=seed, strategy=strategy)
    started = time.perf_counter()
    simulate(
        study,
        training_of,
        workers=method.workers,
        effort=Effort(epochs=HORIZON * EPOCHS),
    )
    seconds = (time.perf_counter() - started) / len(study.trials())
    return _trace(study.trials(), landscape, seconds)


def in_order(trials: list[TrialRecord]) -> list[tuple[TrialRecord, int]]:
    """Return every epoch that was trained, in the order in which they ended."""
    events = [(when, t, epoch) for t in trials for epoch, when in enumerate(t.reached_ms, 1)]
    events.sort(key=lambda event: (event[0], event[1].number, event[2]))
    return [(trial, epoch) for _, trial, epoch in events]


def _trace(trials: list[TrialRecord], landscape: Landscape, seconds: float) -> Trace:
    """Replay the epochs in the order they came, and score the front whenever a network is done."""
    rows: list[int] = []
    seen: list[float] = []
    truth, value = np.zeros(HORIZON + 1), 0.0
    for spent, (trial, epoch) in enumerate(in_order(trials)[: HORIZON * EPOCHS], 1):
        if epoch == EPOCHS and trial.state is State.COMPLETE:
            rows.append(trial.row)
            seen.append(trial.mean_iou * 100)
            value = landscape.hypervolume(rows, seen)
        truth[-(-spent // EPOCHS) :] = value
    claim = landscape.claimed(rows, seen)
    return Trace(truth[1:], claim, len(trials), seconds)


def interval(values: Array) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean."""
    draw = np.random.default_rng(0)
    means = draw.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _first_at(mean: Array, level: float) -> str:
    reached = np.flatnonzero(mean >= level)
    return str(reached[0] + 1) if reached.size else "-"


def table(variant: str, traces: dict[str, list[Trace]]) -> str:
    """Return the comparison of one variant as Markdown."""
    truths = {name: np.array([trace.truth for trace in t]) for name, t in traces.items()}
    tpe = truths["tpe"].mean(axis=0)[-1] if "tpe" in truths else np.inf
    heads = [str(n) for n in SHOWN[:-1]] + [f"{SHOWN[-1]} [95 %]", "AUC", "to TPE@80"]
    heads += ["claimed - true", "trials", "s a trial"]
    lines = [f"### {variant}", "", "| method | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for name, truth in truths.items():
        mean = truth.mean(axis=0)
        low, high = interval(truth[:, -1])
        cells = [f"{mean[n - 1]:.3f}" for n in SHOWN]
        cells[-1] += f" [{low:.3f}, {high:.3f}]"
        cells += [f"{mean.mean():.3f}", _first_at(mean, tpe)]
        cells.append(f"{np.mean([t.claim - t.truth[-1] for t in traces[name]]):+.3f}")
        cells.append(f"{np.mean([t.trials for t in traces[name]]):.0f}")
        cells.append(f"{np.mean([t.proposal_s for t in traces[name]]):.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the searches and print their tables."""
    options = tyro.cli(Options)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    text, panels = "", {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as executor:
        for variant in options.variant:
            traces = {}
            for name in options.methods:
                jobs = [(METHODS[name], variant, seed) for seed in seeds]
                traces[name] = list(executor.map(search, *zip(*jobs, strict=True)))
            text += table(variant, traces) + "\n\n"
            print(table(variant, traces), flush=True)
            panels[variant] = {name: [one.truth for one in t] for name, t in traces.items()}
    if options.output:
        options.output.write_text(text)
    if options.plot:
        against, share_of = f"trials of {EPOCHS} epochs", "the true front's hypervolume"
        draw(panels, options.plot, against=against, share_of=share_of, level=LEVEL)


if __name__ == "__main__":
    main()
