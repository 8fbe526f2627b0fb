"""The study: every trial of a search, kept by Optuna, and all that a restart goes by.

Only the driver opens it. What is written here survives it: proposals, every epoch's result, why a
trial ended. MLflow and the console are views of it.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.cost import count_parameters
from pipeline.core.errors import UsageError
from pipeline.core.front import hypervolume, pareto_front
from pipeline.core.space import Pool
from pipeline.runtime.proposals import NUM_START, GatedSampler, distributions

optuna.logging.set_verbosity(optuna.logging.WARNING)
_EPOCH = "epoch/"


class State(StrEnum):
    """What has become of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


_STATES = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.STOPPED,
    TrialState.FAIL: State.FAILED,
}


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study holds it; ``results`` has its epochs so far, in order."""

    number: int
    architecture: Architecture
    num_params: int
    state: State
    results: tuple[EpochResult, ...] = ()
    reached_ms: tuple[int, ...] = ()  # when each result came, milliseconds since 1970
    failure: str = ""

    @property
    def mean_iou(self) -> float:
        """Return the last epoch's mean IoU on val; nan before the first."""
        return self.results[-1].mean_iou if self.results else math.nan


class Study:
    """The trials of one search, in Optuna's storage."""

    def __init__(
        self, storage: BaseStorage, name: str, pool: Pool, settings: Mapping[str, Any], seed: int
    ) -> None:
        """Open the study of this name, or make it.

        Args:
            storage: Optuna's.
            name: of the study.
            pool: the architectures within budget.
            settings: all that makes trials comparable; must be what the study was made with.
            seed: of the proposals.

        Raises:
            UsageError: the study was made with other settings; says which.
        """
        self.name = name
        self.pool = pool
        proposer = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=NUM_START
        )
        self._study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize", "minimize"],
            sampler=GatedSampler(pool, proposer, seed),
            load_if_exists=True,
        )
        self._check_settings(json.loads(json.dumps(settings)))
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self._is_proposed(trial):
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _is_proposed(self, trial: FrozenTrial) -> bool:
        """Return whether the driver lived to write down all choices of a trial."""
        return trial.params.keys() == self.pool.space.choices.keys()

    def _check_settings(self, settings: dict[str, Any]) -> None:
        saved = self._study.user_attrs.get("settings")
        if saved is None:
            self._study.set_user_attr("settings", settings)
        elif saved != settings:
            differing = [
                f"{key} {saved.get(key)!r}, now {settings.get(key)!r}"
                for key in sorted(saved | settings)
                if saved.get(key) != settings.get(key)
            ]
            raise UsageError(
                f"study {self.name} was made with {'; '.join(differing)}: "
                "use the same, or another --name"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Return all that makes the trials comparable."""
        return dict(self._study.user_attrs["settings"])

    @property
    def budget(self) -> int:
        """Return the most parameters a trial may have."""
        return int(self.settings["budget"])

    def trials(self) -> list[TrialRecord]:
        """Return every trial, oldest first."""
        return [
            _record(self.pool, trial)
            for trial in self._study.get_trials(deepcopy=False)
            if self._is_proposed(trial)
        ]

    def propose(self) -> TrialRecord | None:
        """Start a trial of an architecture that is new and fits; None when all have been tried."""
        if len(self.trials()) >= len(self.pool):
            return None
        trial = self._study.ask(fixed_distributions=distributions(self.pool.space))
        return self.trial(trial.number)

    def add_result(self, number: int, result: EpochResult, reached_ms: int) -> bool:
        """Keep an epoch's result; False if it was there already, as after a restart."""
        key = f"{_EPOCH}{result.epoch}"
        trial = self._trial(number)
        if key in trial.user_attrs:
            return False
        trial.set_user_attr(key, _result_to_json(result) | {"reached_ms": reached_ms})
        return True

    def complete(self, record: TrialRecord) -> None:
        """End a trial with the mean IoU of its last epoch."""
        values = [record.mean_iou, record.num_params]
        self._study.tell(record.number, values, skip_if_finished=True)

    def fail(self, number: int, cause: str) -> None:
        """End a trial without a result; it is on no front and informs no proposal."""
        self._trial(number).set_user_attr("failure", cause)
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def trial(self, number: int) -> TrialRecord:
        """Return one trial."""
        return _record(self.pool, self._study.get_trials(deepcopy=False)[number])

    def _trial(self, number: int) -> optuna.Trial:
        frozen = self._study.get_trials(deepcopy=False)[number]
        return optuna.Trial(self._study, frozen._trial_id)


def front(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that no other beats in both size and mean IoU, smallest first."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    return [complete[i] for i in pareto_front([(t.num_params, -t.mean_iou) for t in complete])]


def front_hypervolume(trials: list[TrialRecord], budget: int) -> float:
    """Return the area the front dominates, as a share of budget x 100 % mean IoU."""
    points = [(trial.num_params / budget, -trial.mean_iou) for trial in front(trials)]
    # A network of exactly the budget is within it, so the reference lies one parameter beyond.
    return hypervolume(points, ((budget + 1) / budget, 0.0))


@contextmanager
def study_storage(state_dir: Path, name: str) -> Iterator[BaseStorage]:
    """Open the storage of one study for this process alone.

    Raises:
        UsageError: another process has it open.
    """
    folder = state_dir / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise UsageError(
                f"study {name} is being searched by another process: wait, or choose another --name"
            ) from cause
        lock.write(str(os.getpid()))
        yield JournalStorage(JournalFileBackend(str(folder / f"{name}.journal")))


def _record(pool: Pool, trial: FrozenTrial) -> TrialRecord:
    architecture = pool.space.architecture(trial.params, pool.num_classes)
    epochs = sorted(
        (value for key, value in trial.user_attrs.items() if key.startswith(_EPOCH)),
        key=lambda value: value["epoch"],
    )
    return TrialRecord(
        number=trial.number,
        architecture=architecture,
        num_params=count_parameters(architecture),
        state=_STATES[trial.state],
        results=tuple(_result_from_json(value) for value in epochs),
        reached_ms=tuple(value["reached_ms"] for value in epochs),
        failure=trial.user_attrs.get("failure", ""),
    )


def _result_to_json(result: EpochResult) -> dict[str, Any]:
    # JSON has no nan: a class that is nowhere in val has no IoU.
    iou = [None if math.isnan(value) else value for value in result.class_iou]
    return asdict(result) | {"class_iou": iou}


def _result_from_json(fields: Mapping[str, Any]) -> EpochResult:
    iou = tuple(math.nan if value is None else value for value in fields["class_iou"])
    kept = {key: value for key, value in fields.items() if key != "reached_ms"}
    return EpochResult.from_dict(kept | {"class_iou": iou})
