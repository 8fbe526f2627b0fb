"""What an earlier study on the same data knows, for the proposals of a new one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.core.config import COMPARED
from pipeline.core.errors import UsageError
from pipeline.runtime.records import STARTED
from pipeline.runtime.samplers import PREDICTION
from pipeline.runtime.study_settings import as_kept
from pipeline.runtime.study_storage import study_storage

_SAME = ("fingerprint", *COMPARED, "workers_per_trial")

Told = list[tuple[dict[str, Any], float, float]]


def read_earlier(
    state_dir: Path, name: str, settings: Mapping[str, Any], url: str | None = None
) -> Told:
    """Return architecture, mean IoU and variance of the trials of a study that is comparable.

    Its space, budget and seed may differ.

    Args:
        state_dir: folder of this machine's studies.
        name: of the earlier study.
        settings: of the new one.
        url: of the database that has the studies, if one has.

    Raises:
        UsageError: there is no such study, or its accuracies mean something else.
    """
    with study_storage(state_dir, name, keep=False, url=url) as storage:
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError as cause:
            where = state_dir if url is None else "the study storage"
            raise UsageError(f"--warm-start: there is no study {name} in {where}") from cause
        theirs, ours = study.user_attrs.get("settings", {}), as_kept(settings)
        if differing := [k for k in _SAME if theirs.get(k) != ours.get(k)]:
            told = "; ".join(f"{k} {theirs.get(k)!r}, here {ours.get(k)!r}" for k in differing)
            raise UsageError(f"--warm-start: the accuracies of study {name} do not compare: {told}")
        return _told(study.get_trials(deepcopy=False))


def _told(trials: list[optuna.trial.FrozenTrial]) -> Told:
    told: Told = []
    for trial in trials:
        architecture = trial.user_attrs.get(STARTED, {}).get("architecture")
        if architecture is None:
            continue
        if trial.state is TrialState.COMPLETE:
            told.append((architecture, trial.values[0], 0.0))
        elif trial.state is TrialState.PRUNED and (seen := trial.user_attrs.get(PREDICTION)):
            told.append((architecture, seen["mean"], seen["variance"]))
    return told
