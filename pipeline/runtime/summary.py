"""What a search says on the terminal when it has ended."""

from pipeline.runtime.confirmation_table import confirmation_lines
from pipeline.runtime.console import front_table
from pipeline.runtime.records import State, TrialRecord, front
from pipeline.runtime.session import Outcome
from pipeline.runtime.study import Study


def outcome_lines(outcome: Outcome, study: Study) -> list[str]:
    """Return what became of the trials, the front, what was confirmed, and where all of it is."""
    lines = [f"study {study.name}: {counts(outcome.trials)}"]
    lines += [f"  failed {t.number}: {t.failure}" for t in outcome.trials if t.failure][:3]
    if found := front_lines(study):
        lines += [*found, f"picture:  {outcome.picture}"]
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
