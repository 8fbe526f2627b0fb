"""What MLflow is told of a study, as messages: pure functions of its trials.

A message says what to ``do``, for which ``trial`` (None is the study itself), with metrics as
[name, value, milliseconds since 1970, step]. All of it is JSON.
"""

import math
from collections.abc import Mapping
from typing import Any

from pipeline.core.cost import count_macs
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime.outbox import Message
from pipeline.runtime.records import State, TrialRecord, front, front_hypervolume

TRIAL, STATE, WEIGHTS_TAG = "cgnet.trial", "cgnet.state", "cgnet.weights"
_RUN_STATES = {State.COMPLETE: "FINISHED", State.STOPPED: "FINISHED", State.FAILED: "FAILED"}
_RATE_WINDOW_MS = 300_000


def child_message(trial: TrialRecord, info: DatasetInfo, checkpoints: str) -> Message:
    """Return what makes a trial's run."""
    values = {
        "num_params": trial.num_params,
        "macs": count_macs(trial.architecture, *info.image_size),
    }
    return {
        "do": "start",
        "trial": trial.number,
        "name": f"{trial.architecture.label} · {trial.num_params / 1e3:.0f}k",
        "start_ms": trial.started_ms,
        "tags": {
            TRIAL: str(trial.number),
            "cgnet.id": trial.architecture.id,
            STATE: State.RUNNING.value,
            "cgnet.checkpoint": checkpoints,
        },
        "params": {key: str(value) for key, value in trial.architecture.to_dict().items()},
        "metrics": _metrics(values, trial.started_ms, 0),
    }


def epoch_message(trial: TrialRecord, index: int, info: DatasetInfo) -> Message:
    """Return a trial's figures after one epoch."""
    result = trial.results[index]
    seconds = result.train_s
    values: dict[str, float] = {
        "train/loss": result.train_loss,
        "val/mean_iou": result.mean_iou,
        "time/train_s": seconds,
        "time/val_s": result.val_s,
        "time/data_wait_s": result.data_wait_s,
        "time/samples_per_s": info.num_samples["train"] / seconds if seconds else math.nan,
        "data/corrupt": len(result.corrupt),
    }
    if result.deployed_parameters is not None and result.deployed_macs is not None:
        values["deployed_parameters"] = result.deployed_parameters
        values["deployed_macs"] = result.deployed_macs
    for name, iou in zip(info.classes.names, result.class_iou, strict=True):
        values[f"val/iou/{name}"] = iou
    metrics = _metrics(values, trial.reached_ms[index], result.epoch)
    return {"do": "log", "trial": trial.number, "metrics": metrics}


def end_message(trial: TrialRecord, weights_uri: str) -> Message:
    """Return what closes a trial's run: what became of it and why."""
    tags = {STATE: trial.state.value}
    if trial.judgement:
        tags["cgnet.stopping"] = trial.judgement
    if trial.state is State.COMPLETE:
        tags[WEIGHTS_TAG] = weights_uri
    if trial.failure:
        tags["cgnet.failure"] = trial.failure[:5000]
    return {
        "do": "end",
        "trial": trial.number,
        "tags": tags,
        "status": _RUN_STATES[trial.state],
        "end_ms": trial.latest_ms,
    }


def front_message(trials: list[TrialRecord], budget: int, floor: float) -> Message:
    """Return how good the front is; the step is how many trials have ended."""
    best = front(trials)
    values = {
        "front/hypervolume": front_hypervolume(trials, budget, floor),
        "front/size": len(best),
        "front/best_mean_iou": best[-1].mean_iou if best else math.nan,
    }
    metrics = _metrics(values, _latest_ms(trials), num_ended(trials))
    return {"do": "log", "trial": None, "metrics": metrics}


def effort_message(trials: list[TrialRecord], info: DatasetInfo, workers: int) -> Message:
    """Return what the search does and has spent; the step is ``num_events``.

    Args:
        trials: all of them.
        info: of the data set.
        workers: that share one training.
    """
    busy_s = sum(r.train_s + r.val_s for trial in trials for r in trial.results)
    values = {
        **{f"trials/{state}": sum(t.state is state for t in trials) for state in State},
        "time/cpu_hours": workers * busy_s / 3600,
        "time/samples_per_s": samples_per_s(trials, info.num_samples["train"]),
    }
    metrics = _metrics(values, _latest_ms(trials), num_events(trials))
    return {"do": "log", "trial": None, "metrics": metrics}


def num_ended(trials: list[TrialRecord]) -> int:
    """Return how many trials have ended."""
    return sum(trial.state is not State.RUNNING for trial in trials)


def num_events(trials: list[TrialRecord]) -> int:
    """Return how often something happened: a trial was started, came an epoch further, or ended.

    No two states of a study have the same count. MLflow shows the larger value of two at one step.
    """
    return len(trials) + sum(len(trial.results) for trial in trials) + num_ended(trials)


def _latest_ms(trials: list[TrialRecord]) -> int:
    return max((trial.latest_ms for trial in trials), default=0)


def samples_per_s(trials: list[TrialRecord], samples: int) -> float:
    """Return how many training samples all trials together passed in a second, of late.

    Counted over the epochs that ended in the five minutes before the last one did, from when the
    first of these began; nan before the first.
    """
    ends = [
        (reached, reached - round((result.train_s + result.val_s) * 1000))
        for trial in trials
        for reached, result in zip(trial.reached_ms, trial.results, strict=True)
    ]
    last = max((end for end, _ in ends), default=0)
    recent = [(end, begin) for end, begin in ends if end > last - _RATE_WINDOW_MS]
    took_ms = last - min((begin for _, begin in recent), default=last)
    return len(recent) * samples * 1000 / took_ms if took_ms else math.nan


def flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows whose ``architecture`` became columns of their own, lists as text."""
    return [
        {
            key: str(value) if isinstance(value, list) else value
            for key, value in (row | row["architecture"]).items()
            if key != "architecture"
        }
        for row in rows
    ]


def _metrics(values: Mapping[str, float], when_ms: int, step: int) -> list[list[Any]]:
    """Return the metrics that are defined: MLflow's table sorts nan above everything."""
    return [[key, value, when_ms, step] for key, value in values.items() if not math.isnan(value)]
