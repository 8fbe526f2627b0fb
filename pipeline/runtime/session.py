"""One run of a search: services up, trials through, the front and the champion into MLflow."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.effort import Effort
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime import cluster, services
from pipeline.runtime.champion import register_champion
from pipeline.runtime.console import SearchConsole, say
from pipeline.runtime.figures import front_html, front_png
from pipeline.runtime.groups import training_groups
from pipeline.runtime.storage import absolute_uri
from pipeline.runtime.study import Study, TrialRecord, front
from pipeline.runtime.tracking import StudyTracker, check_mlflow
from pipeline.runtime.trials import run_trials


@dataclass(frozen=True)
class SearchPlan:
    """What a search is to do, beside the study that it adds to."""

    data: DataConfig
    info: DatasetInfo
    training: TrainConfig
    seed: int
    effort: Effort
    studies_uri: str  # one folder a study, in it one a trial
    state_dir: Path

    def spec(self, trial: TrialRecord) -> TrialSpec:
        """Return the training that a trial is."""
        return TrialSpec(trial.architecture, self.data, self.training, self.seed)


@dataclass(frozen=True)
class Outcome:
    """What a run of a search leaves behind."""

    trials: list[TrialRecord]
    ended_by: str | None  # None: it was interrupted
    picture: Path
    mlflow: str
    champion: str | None
    messages_lost: int


def run_search(plan: SearchPlan, study: Study) -> Outcome:
    """Train until the effort is spent, or Ctrl-C; record and draw what there is.

    Raises:
        ServiceUnavailable: MLflow or Ray cannot be used; nothing has been started then.
    """
    started = time.monotonic()
    more = _ended_by(plan, study, 0.0) is None
    with ThreadPoolExecutor(1) as executor:
        mlflow_ready = executor.submit(_start_mlflow, plan.state_dir)
        if more:
            cluster.connect()
        mlflow_ready.result()
    tracker = StudyTracker(
        study, plan.info, _params(plan, study), lambda trial: trial_uri(plan, study, trial)
    )
    if more:
        _train(plan, study, tracker, started)
    trials = study.trials()
    ended_by = _ended_by(plan, study, time.monotonic() - started)
    picture = _draw(plan, study, trials, tracker)
    champion = None
    if best := front(trials):
        champion = register_champion(
            best[-1],
            plan.info,
            run_id=tracker.run_id,
            checkpoints=trial_uri(plan, study, best[-1]),
        )
    lost = tracker.close(finished=ended_by is not None)
    return Outcome(trials, ended_by, picture, tracker.address, champion, lost)


def trial_uri(plan: SearchPlan, study: Study, trial: TrialRecord) -> str:
    """Return the URI of a trial's own folder."""
    return absolute_uri(f"{plan.studies_uri}/{study.name}/{trial.number:05d}")


def _start_mlflow(state_dir: Path) -> None:
    services.ensure_environment(state_dir, needs_s3=False, needs_mlflow=True)
    check_mlflow()


def _ended_by(plan: SearchPlan, study: Study, seconds: float) -> str | None:
    """Return what has ended the search, or None when there is more to do."""
    if study.progress.trials >= len(study.pool):
        return "every network that fits"
    return plan.effort.spent(study.progress, seconds)


def _train(plan: SearchPlan, study: Study, tracker: StudyTracker, started: float) -> None:
    slots = cluster.num_slots(plan.training.num_workers)
    if plan.effort.trials is not None:
        slots = min(slots, plan.effort.trials - study.progress.trials)
    workers = plan.training.num_workers
    say(f"{slots} trials at once, {workers} workers each; watch at {tracker.address}")
    console = SearchConsole(
        study.trials(), plan.effort.trials, study.budget, time.monotonic, study.floor
    )
    with (
        console,
        training_groups(slots, plan.training.num_workers, plan.studies_uri) as broker,
    ):
        run_trials(
            study,
            plan.spec,
            broker,
            [tracker, console],
            is_spent=lambda running: (
                plan.effort.spent(study.progress, time.monotonic() - started, running) is not None
            ),
            concurrency=slots,
            checkpoints=lambda trial: trial_uri(plan, study, trial),
            scratch=plan.state_dir / "tune",
        )


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
