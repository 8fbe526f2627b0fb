"""What a search says when it has ended, on the terminal and at the head of its run in MLflow."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime.confirmation_table import confirmation_lines
from pipeline.runtime.confirming import Confirmation
from pipeline.runtime.console import front_table
from pipeline.runtime.records import State, TrialRecord, front
from pipeline.runtime.study import Study


@dataclass(frozen=True)
class Outcome:
    """What a run of a search leaves behind."""

    trials: list[TrialRecord]
    ended_by: str | None  # None: it was interrupted
    picture: Path
    mlflow: str
    champion: str | None  # None: there is none, or none yet
    confirmation: Confirmation | None
    messages_lost: int


def outcome_lines(outcome: Outcome, study: Study) -> list[str]:
    """Return what became of the trials, the front, what was confirmed, and where all of it is."""
    lines = [f"study {study.name}: {counts(outcome.trials)}"]
    lines += [f"  failed {t.number}: {t.failure}" for t in outcome.trials if t.failure][:3]
    if found := front_lines(study):
        lines += [*found, f"picture:  {outcome.picture}"]
    if words := study.sizes.report:
        lines.append(words)
    if outcome.confirmation:
        lines += confirmation_lines(outcome.confirmation, study.budget)
    if outcome.champion:
        lines.append(f"champion: {outcome.champion}")
    return [*lines, f"MLflow:   {outcome.mlflow}"]


def counts(trials: list[TrialRecord]) -> str:
    """Return how many trials are in which state."""
    found = [
        f"{count} {state}"
        for state in State
        if (count := sum(trial.state is state for trial in trials))
    ]
    return ", ".join(found) or "no trials"


def front_lines(study: Study) -> list[str]:
    """Return the front as a table under what it is worth; nothing if there is none yet."""
    if not (best := front(study.trials())):
        return []
    above = f" above {study.floor * 100:g} %" if study.floor else ""
    return [
        f"front of {len(best)}, hypervolume {study.hypervolume:.3f} of {study.budget:,} parameters "
        f"x 100 % mIoU{above}",
        front_table(study.trials()),
    ]


def note(trials: list[TrialRecord], study: Study, confirmation: Confirmation | None) -> str | None:
    """Return what MLflow says at the head of the study's run; None if there is no network yet."""
    beside = ""
    if confirmation and (again := confirmation.best_within(study.budget)):
        count = len(again.runs)
        seeds = f"{count} seed{'s' if count > 1 else ''}"
        score = f"{again.score} % on val, trained again with {seeds} after the search"
        label, num_params = again.network.label, again.num_params
        for one in confirmation.networks:
            if one.is_published and one is not again:
                beside = (
                    f" CGNet as published, M3N21, has {one.num_params:,} parameters and scores "
                    f"{one.score} % by the same recipe."
                )
    elif found := front(trials):
        best = found[-1]
        score = f"{best.mean_iou * 100:.2f} % on val in one training"
        label, num_params = best.architecture.label, best.num_params
    else:
        return None
    return (
        f"**{label}**: {num_params:,} parameters, mean IoU {score}; the best of {len(trials)} "
        f"trials within {study.budget:,} parameters.{beside}\n\n"
        f"`python -m pipeline.report {study.name}` tells more."
    )
