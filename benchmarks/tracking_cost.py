"""What MLflow costs a search: the same simulated search, told to a real MLflow and told to nobody.

    python -m benchmarks.tracking_cost [TRIALS]

The synthetic table on a virtual clock, so that proposing, judging and telling are all that takes
time. Held up is what the search waits for while it tells; CPU is of all processes, MLflow's server
included, until everything has been taken. Per epoch, since there is a message or two for each.
"""

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna

from benchmarks.report import print_setting, print_table
from benchmarks.synthetic import BUDGET, EPOCHS, FLOOR, NUM_CLASSES, SPACE, Landscape
from pipeline.core.config import EpochResult
from pipeline.core.effort import Effort
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.runtime import environment, services
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.tracking import StudyTracker

_CLASSES = ClassTable(
    tuple(f"class-{i}" for i in range(NUM_CLASSES)), ((0, 0, 0),) * NUM_CLASSES, 255
)
_ONES = (1.0,) * NUM_CLASSES
INFO = DatasetInfo(
    *("synthetic", "f" * 12, "generation", _CLASSES, {"train": 1, "val": 1}, (64, 96)),
    *((0.0,) * 3, (1.0,) * 3, (1,) * NUM_CLASSES, _ONES),
)


@dataclass
class Telling:
    """A listener's calls, with the seconds that they took."""

    tracker: StudyTracker
    seconds: float = field(default=0.0, init=False)

    def tell(self, what: str, trial: TrialRecord) -> None:
        """Make one call."""
        started = time.perf_counter()
        getattr(self.tracker, what)(trial)
        self.seconds += time.perf_counter() - started


class ToldStudy(Study):
    """A study that tells a listener of its trials, if it has one."""

    telling: Telling | None = None

    def propose(self, started_ms: int = 0) -> TrialRecord | None:
        """Start a trial, and say so."""
        trial = super().propose(started_ms)
        if self.telling and trial:
            self.telling.tell("started", trial)
        return trial

    def add_result(self, number: int, result: EpochResult, reached_ms: int) -> bool:
        """Keep a result, and say so."""
        verdict = super().add_result(number, result, reached_ms)
        if self.telling:
            self.telling.tell("reached", self.trial(number))
        return verdict

    def settle(self, number: int) -> bool:
        """End a trial whose time has come, and say so."""
        ended = super().settle(number)
        if self.telling and self.trial(number).state is not State.RUNNING:
            self.telling.tell("ended", self.trial(number))
        return ended


def search(folder: Path, trials: int, *, told: bool) -> tuple[int, float, float]:
    """Return the epochs of a search, the seconds until all is told, and those it was held up."""
    landscape = Landscape(0, SPACE.pool(NUM_CLASSES).within(BUDGET))
    settings = {"budget": BUDGET, "floor": FLOOR}
    storage = optuna.storages.InMemoryStorage()
    study = ToldStudy(storage, folder.name, landscape.pool, settings, 0, Strategy("random"))
    if told:
        study.telling = Telling(StudyTracker(study, INFO, {}, lambda trial: "nowhere", folder))

    def training_of(trial: TrialRecord) -> list[EpochResult]:
        known = landscape.training(trial.row, 0)
        return [replace(one, class_iou=(one.mean_iou,) * NUM_CLASSES) for one in known]

    started = time.perf_counter()
    simulate(study, training_of, workers=4, effort=Effort(trials=trials))
    held_up = 0.0
    if study.telling:
        held_up = study.telling.seconds
        assert study.telling.tracker.close(finished=True) == 0, "MLflow took everything"
    epochs = sum(len(trial.results) for trial in study.trials())
    return epochs, time.perf_counter() - started, held_up


def main() -> None:
    """Search with and without, and print the table."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with TemporaryDirectory() as root:
        environment.configure(Path(root))
        services.ensure_environment(Path(root), needs_s3=False, needs_mlflow=True)
        try:
            rows = []
            for told in (False, True):
                folder = Path(root) / f"told-{told}"
                folder.mkdir()
                epochs, seconds, held_up = search(folder, trials, told=told)
                rows.append((told, epochs, seconds, held_up))
        finally:
            services.stop(Path(root))
    print_setting(f"{trials} trials of {EPOCHS} epochs, {NUM_CLASSES} classes, sampler random.")
    print_table(
        ("told", "epochs", "s until all is told", "ms an epoch", "held up, ms an epoch"),
        [
            [
                *("to MLflow" if told else "to nobody", str(epochs), f"{seconds:.1f}"),
                *(f"{1e3 * seconds / epochs:.1f}", f"{1e3 * held_up / epochs:.2f}"),
            ]
            for told, epochs, seconds, held_up in rows
        ],
    )


if __name__ == "__main__":
    main()
