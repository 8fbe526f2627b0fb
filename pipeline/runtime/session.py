"""One run of a search: services up, trials through, the front and the champion into MLflow."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.runtime import cluster, services
from pipeline.runtime.confirmation_table import confirmation_json
from pipeline.runtime.confirmations import Confirmations, Retraining
from pipeline.runtime.confirming import Confirmation, confirmation_of
from pipeline.runtime.console import SearchConsole, say
from pipeline.runtime.figures import front_html, front_png
from pipeline.runtime.groups import training_groups
from pipeline.runtime.registration import register_champion
from pipeline.runtime.retraining import train_again
from pipeline.runtime.search_plan import SearchPlan
from pipeline.runtime.study import Study, TrialRecord, front
from pipeline.runtime.tracking import StudyTracker, check_mlflow
from pipeline.runtime.trials import run_trials
from pipeline.runtime.winner import find_champion


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


def run_search(plan: SearchPlan, study: Study, known: Confirmations) -> Outcome:
    """Train until the effort is spent, then confirm; record and draw what there is.

    Ctrl-C ends it early.

    Args:
        plan: what to do.
        study: with its trials so far.
        known: what has been trained again so far.

    Raises:
        ServiceUnavailable: MLflow or Ray cannot be used; nothing has been started then.
    """
    started = time.monotonic()
    more = _ended_by(plan, study, 0.0) is None
    to_train = more or bool(_pending(plan, study, known))
    with ThreadPoolExecutor(1) as executor:
        mlflow_ready = executor.submit(_start_mlflow, plan.state_dir)
        if to_train:
            cluster.connect()
        mlflow_ready.result()
    tracker = StudyTracker(
        study, plan.info, _params(plan, study), lambda trial: plan.trial_uri(study, trial)
    )
    ended_by = None
    with _groups(plan, study, to_train) as (slots, broker):
        if more:
            _train(plan, study, tracker, started, slots, broker)
        ended_by = _ended_by(plan, study, time.monotonic() - started)
        if plan.num_seeds and to_train and ended_by and not _confirm(plan, study, known, broker):
            ended_by = None
    trials = study.trials()
    picture = _draw(plan, study, trials, tracker)
    confirmation = None
    if plan.num_seeds and ended_by:
        confirmation = confirmation_of(plan.confirmation(study), study, known)
        text = json.dumps(confirmation_json(confirmation), indent=2)
        tracker.log_files({"confirmation.json": text})
    champion = None
    if (best := find_champion(plan, study, known, confirmation)) is not None:
        champion = register_champion(best, plan.info, run_id=tracker.run_id)
    lost = tracker.close(finished=ended_by is not None)
    return Outcome(trials, ended_by, picture, tracker.address, champion, confirmation, lost)


def _pending(plan: SearchPlan, study: Study, known: Confirmations) -> list[Retraining]:
    """Return what is left to train again of a search that has ended."""
    return known.pending(plan.confirmation(study).retrainings) if plan.num_seeds else []


def _start_mlflow(state_dir: Path) -> None:
    services.ensure_environment(state_dir, needs_s3=False, needs_mlflow=True)
    check_mlflow()


def _ended_by(plan: SearchPlan, study: Study, seconds: float) -> str | None:
    """Return what has ended the search, or None when there is more to do."""
    if study.progress.trials >= len(study.pool):
        return "every network that fits"
    return plan.effort.spent(study.progress, seconds)


@contextmanager
def _groups(plan: SearchPlan, study: Study, to_train: bool) -> Iterator[tuple[int, Any]]:
    """Run as many training groups as there is work for; yield their number and their broker."""
    if not to_train:
        yield 0, None
        return
    workers = plan.training.num_workers
    slots = cluster.num_slots(workers)
    if plan.effort.trials is not None and not plan.num_seeds:
        slots = min(slots, plan.effort.trials - study.progress.trials)
    with training_groups(slots, workers, plan.studies_uri) as broker:
        yield slots, broker


def _train(
    plan: SearchPlan, study: Study, tracker: StudyTracker, started: float, slots: int, broker: Any
) -> None:
    say(
        f"{slots} trials at once, {plan.training.num_workers} workers each; "
        f"watch at {tracker.address}"
    )
    console = SearchConsole(
        study.trials(), plan.effort.trials, study.budget, time.monotonic, study.floor
    )
    with console:
        run_trials(
            study,
            plan.spec,
            broker,
            [tracker, console],
            is_spent=lambda running: (
                plan.effort.spent(study.progress, time.monotonic() - started, running) is not None
            ),
            concurrency=slots,
            checkpoints=lambda trial: plan.trial_uri(study, trial),
            scratch=plan.state_dir / "tune",
        )


def _confirm(plan: SearchPlan, study: Study, known: Confirmations, broker: Any) -> bool:
    """Train again what is to be; return whether it came to its end, and not to Ctrl-C."""
    wanted = plan.confirmation(study).retrainings
    say(f"{len(wanted)} trainings, {plan.num_seeds} a network, to confirm the front")
    try:
        train_again(
            wanted,
            known,
            broker,
            spec_of=plan.spec_again,
            checkpoints=lambda one: plan.again_uri(study, one),
            say=say,
        )
    except KeyboardInterrupt:
        return False
    return True


def _params(plan: SearchPlan, study: Study) -> Mapping[str, object]:
    return {
        **study.settings,
        "networks_within_budget": len(study.pool),
        **{f"train_{key}": value for key, value in asdict(plan.training).items()},
    }


def _draw(plan: SearchPlan, study: Study, trials: list[TrialRecord], tracker: StudyTracker) -> Path:
    """Draw the front, here and in MLflow; return where the picture is."""
    title = f"{study.name}: CGNet variants on {plan.info.name}, {plan.training.epochs} epochs"
    files: dict[str, str | bytes] = {
        "front.png": front_png(trials, study.budget, title),
        "front.html": front_html(trials, study.budget, title),
        "front.json": json.dumps(_front_json(trials, study), indent=2),
    }
    folder = plan.state_dir / "studies" / study.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = folder / f"{name}.partial"
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(folder / name)
    tracker.log_files(files)
    return folder / "front.png"


def _front_json(trials: list[TrialRecord], study: Study) -> dict[str, object]:
    return {
        "budget": study.budget,
        "floor": study.floor,
        "hypervolume": study.hypervolume,
        "front": [
            {
                "trial": trial.number,
                "num_params": trial.num_params,
                "mean_iou": trial.mean_iou,
                "architecture": trial.architecture.to_dict(),
            }
            for trial in front(trials)
        ],
    }
