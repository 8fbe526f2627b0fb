"""One run of a search: services up, trials through, the front and the champion into MLflow."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.effort import Effort
from pipeline.core.errors import PipelineError
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime import cluster, services
from pipeline.runtime.about import StudyAbout, command_line, machine, versions
from pipeline.runtime.champion import register_champion
from pipeline.runtime.console import SearchConsole, say
from pipeline.runtime.figures.files import PICTURE, front_rows, study_files
from pipeline.runtime.groups import training_groups
from pipeline.runtime.mlflow_runs import is_refusal
from pipeline.runtime.storage import absolute_uri
from pipeline.runtime.study import Study, TrialRecord, front
from pipeline.runtime.study_storage import study_folder
from pipeline.runtime.tracking import StudyTracker, check_mlflow
from pipeline.runtime.trainings import Training, comparable_trainings, rivals
from pipeline.runtime.trials import run_trials


@dataclass(frozen=True)
class SearchPlan:
    """What a search is to do, beside the study that it adds to."""

    data: DataConfig
    info: DatasetInfo
    training: TrainConfig
    seed: int
    effort: Effort
    store: str
    state_dir: Path
    num_networks: int  # of the space, with those over budget

    @property
    def studies_uri(self) -> str:
        """Return where networks are kept: one folder a study, in it one a trial."""
        return f"{self.store.rstrip('/')}/studies"

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
    folder, about = study_folder(plan.state_dir, study.name), _about(plan, study)
    about.write(folder)
    tracker = StudyTracker(
        study,
        plan.info,
        study.settings | about.params(),
        lambda trial: trial_uri(plan, study, trial),
        folder,
    )
    tracker.tag({"cgnet.command": about.command})
    if more:
        _train(plan, study, tracker, started)
    trials = study.trials()
    ended_by = _ended_by(plan, study, time.monotonic() - started)
    picture = _draw(plan, study, trials, tracker)
    champion = None
    if best := front(trials):
        champion = _register(plan, study, best[-1], tracker.run_id)
    lost = tracker.close(finished=ended_by is not None)
    return Outcome(trials, ended_by, picture, tracker.address, champion, lost)


def _register(plan: SearchPlan, study: Study, best: TrialRecord, run_id: str) -> str | None:
    """Register the champion; a search whose MLflow went away ends without, and says so."""
    try:
        checkpoints = trial_uri(plan, study, best)
        return register_champion(best, plan.info, run_id=run_id, checkpoints=checkpoints)
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, MlflowException) and not is_refusal(error):
            reason = "MLflow does not answer"
        say(f"warning: no champion was registered ({reason}): the same command does it later")
        return None


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


def _about(plan: SearchPlan, study: Study) -> StudyAbout:
    return StudyAbout(
        command=command_line("pipeline.search", sys.argv[1:]),
        store=absolute_uri(plan.store),
        dataset=plan.info.name,
        image_size=plan.info.image_size,
        num_samples=plan.info.num_samples,
        class_names=plan.info.classes.names,
        training=asdict(plan.training),
        networks=plan.num_networks,
        networks_within_budget=len(study.pool),
        sampler=study.strategy.sampler,
        stopping=study.strategy.stopping,
        versions=versions(),
        machine=machine(),
    )


def _draw(plan: SearchPlan, study: Study, trials: list[TrialRecord], tracker: StudyTracker) -> Path:
    """Draw the study, here and in MLflow; return where the picture of the front is."""
    title = f"{study.name}: CGNet variants on {plan.info.name}, {plan.training.epochs} epochs"
    beside = rivals(_trainings(plan), trials)
    files = study_files(trials, study.budget, study.floor, title, rivals=beside)
    folder = study_folder(plan.state_dir, study.name)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    tracker.log_files(list(files))
    tracker.log_table("front_table.json", front_rows(trials))
    if best := front(trials):
        tracker.tag({"mlflow.note.content": _note(best[-1], study)})
    return folder / PICTURE


def _note(champion: TrialRecord, study: Study) -> str:
    """Return what MLflow says at the head of the study's run."""
    return (
        f"**{champion.architecture.label}**: {champion.num_params:,} parameters, mean IoU "
        f"{champion.mean_iou * 100:.2f} % on val, the best of {len(study.trials())} trials within "
        f"{study.budget:,} parameters.\n\n`python -m pipeline.report {study.name}` tells more."
    )


def _trainings(plan: SearchPlan) -> list[Training]:
    try:
        return comparable_trainings(
            plan.store,
            plan.info.name,
            plan.data.fingerprint,
            plan.training.epochs,
            plan.training.batch_size,
        )
    except (PipelineError, OSError):
        return []  # they are a favour: the front is drawn without
