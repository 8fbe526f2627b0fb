"""A trial as the study holds it, and the front of many."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.cost import count_parameters
from pipeline.core.front import hypervolume, pareto_front
from pipeline.core.space import Pool
from pipeline.core.stopping import Curve, Prediction, Verdict

# User attributes of a trial in Optuna's storage.
STARTED = "started"  # when, and its architecture
EPOCH, FAILURE, STOPPED = "epoch/", "failure", "stopped"


class State(StrEnum):
    """What has become of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


STATES = {
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
    verdicts: tuple[Verdict | None, ...] = ()  # of each result that was judged
    started_ms: int = 0
    row: int = -1  # of the study's pool

    @property
    def mean_iou(self) -> float:
        """Return the last epoch's mean IoU on val; nan before the first."""
        return self.results[-1].mean_iou if self.results else math.nan

    @property
    def deployed_parameters(self) -> int:
        """Return the size without what training killed; as built before that is known."""
        deployed = self.results[-1].deployed_parameters if self.results else None
        return self.num_params if deployed is None else deployed

    @property
    def verdict(self) -> Verdict | None:
        """Return what was last said of the trial at a rung."""
        return next((verdict for verdict in reversed(self.verdicts) if verdict), None)

    def verdict_at(self, epoch: int) -> Verdict | None:
        """Return what was said of the trial after an epoch, if it was judged then."""
        judged = zip(self.results, self.verdicts, strict=False)
        return next((verdict for result, verdict in judged if result.epoch == epoch), None)

    @property
    def judgement(self) -> str:
        """Return why the trial was stopped, or would have been; empty if neither."""
        return next((v.reason for v in self.verdicts if v and v.reason), "")

    @property
    def is_to_stop(self) -> bool:
        """Return whether the last epoch was judged to be the trial's last."""
        return bool(self.verdicts and self.verdicts[-1] and self.verdicts[-1].stop)

    @property
    def latest_ms(self) -> int:
        """Return when something was last heard of the trial."""
        return max((self.started_ms, *self.reached_ms))

    @property
    def curve(self) -> Curve:
        """Return the accuracies by epoch."""
        values = tuple(result.mean_iou for result in self.results)
        return Curve(self.num_params, values, self.state is State.COMPLETE)

    def reached(
        self, result: EpochResult, reached_ms: int, verdict: Verdict | None
    ) -> "TrialRecord":
        """Return the trial one epoch on."""
        return replace(
            self,
            results=(*self.results, result),
            reached_ms=(*self.reached_ms, reached_ms),
            verdicts=(*self.verdicts, verdict),
        )


def front(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that no other beats in both size and mean IoU, smallest first."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    return [complete[i] for i in pareto_front([(t.num_params, -t.mean_iou) for t in complete])]


def as_deployed(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with the sizes they have deployed, for a front of those."""
    return [replace(trial, num_params=trial.deployed_parameters) for trial in trials]


def any_shrank(trials: list[TrialRecord]) -> bool:
    """Return whether a trial is smaller deployed than built, so that there are two fronts."""
    return any(trial.deployed_parameters < trial.num_params for trial in trials)


def front_hypervolume(trials: list[TrialRecord], budget: int, floor: float = 0.0) -> float:
    """Return the area the front dominates above ``floor``, as a share of budget x 100 % mIoU."""
    points = [(trial.num_params / budget, -trial.mean_iou) for trial in front(trials)]
    # A network of exactly the budget is within it, so the reference lies one parameter beyond.
    return hypervolume(points, ((budget + 1) / budget, -floor))


def epoch_to_json(result: EpochResult, reached_ms: int, verdict: Verdict | None) -> dict[str, Any]:
    """Return all that is known of an epoch, as the study's storage keeps it."""
    # JSON has no nan: a class that is nowhere in val has no IoU.
    iou = [None if math.isnan(value) else value for value in result.class_iou]
    fields = asdict(result) | {"class_iou": iou, "reached_ms": reached_ms}
    return fields | ({"verdict": asdict(verdict)} if verdict else {})


def epoch_from_json(fields: Mapping[str, Any]) -> tuple[EpochResult, int, Verdict | None]:
    """Read what ``epoch_to_json`` wrote."""
    values = dict(fields)
    reached_ms, verdict = values.pop("reached_ms"), values.pop("verdict", None)
    iou = tuple(math.nan if value is None else value for value in values["class_iou"])
    if verdict and verdict["prediction"]:
        verdict = verdict | {"prediction": Prediction(**verdict["prediction"])}
    return (
        EpochResult.from_dict(values | {"class_iou": iou}),
        reached_ms,
        Verdict(**verdict) if verdict else None,
    )


def record_of(pool: Pool, trial: FrozenTrial) -> TrialRecord:
    """Return a trial that Optuna holds whole."""
    row = pool.row(trial.params)
    assert row is not None, "the gate lets nothing else through, and the settings hold the pool"
    return replace(
        _record(trial, pool.architecture(row), int(pool.num_params[row])),
        row=row,
    )


def read_record(trial: FrozenTrial) -> TrialRecord | None:
    """Return a trial by what is written of it alone; None for a proposal never written whole."""
    if (started := trial.user_attrs.get(STARTED)) is None:
        return None
    architecture = Architecture.from_dict(started["architecture"])
    return _record(trial, architecture, count_parameters(architecture))


def _record(trial: FrozenTrial, architecture: Architecture, num_params: int) -> TrialRecord:
    epochs = sorted(
        (
            epoch_from_json(value)
            for key, value in trial.user_attrs.items()
            if key.startswith(EPOCH)
        ),
        key=lambda epoch: epoch[0].epoch,
    )
    results, reached_ms, verdicts = zip(*epochs, strict=True) if epochs else ((), (), ())
    return TrialRecord(
        number=trial.number,
        architecture=architecture,
        num_params=num_params,
        state=STATES[trial.state],
        results=results,
        reached_ms=reached_ms,
        failure=trial.user_attrs.get(FAILURE, ""),
        verdicts=verdicts,
        started_ms=trial.user_attrs.get(STARTED, {"ms": -1})["ms"],
    )
