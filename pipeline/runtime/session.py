"""One run of a search: services up, trials through, the front and the champion into MLflow."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from pipeline.core.effort import Effort
from pipeline.core.errors import PipelineError, one_line
from pipeline.learning.denormals import flush_denormals
from pipeline.runtime import cluster, services
from pipeline.runtime.about import StudyAbout, command_line, machine, versions
from pipeline.runtime.confirmation_table import confirmation_json
from pipeline.runtime.confirmations import Confirmations, Retraining
from pipeline.runtime.confirming import Confirmation, confirmation_of
from pipeline.runtime.console import SearchConsole, say
from pipeline.runtime.figures.files import PICTURE, front_rows, study_files
from pipeline.runtime.figures.series import Rival
from pipeline.runtime.groups import training_groups
from pipeline.runtime.mlflow_runs import is_refusal
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.registration import register_champion
from pipeline.runtime.retraining import train_again
from pipeline.runtime.search_plan import SearchPlan
from pipeline.runtime.storage import absolute_uri
from pipeline.runtime.study import Study
from pipeline.runtime.study_storage import study_folder
from pipeline.runtime.summary import Outcome, note
from pipeline.runtime.tracking import StudyTracker, check_mlflow
from pipeline.runtime.trainings import Training, comparable_trainings, rivals
from pipeline.runtime.trials import run_trials
from pipeline.runtime.winner import find_champion

log = logging.getLogger(__name__)


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
    flush_denormals()  # this process scores the champion, and a sampler may use torch before
    more = _ended_by(plan.effort, study, 0.0) is None
    to_train = more or bool(_pending(plan, study, known))
    with ThreadPoolExecutor(1) as executor:
        mlflow_ready = executor.submit(_start_mlflow, plan.state_dir)
        if to_train:
            cluster.connect()
        mlflow_ready.result()
    folder, about = study_folder(plan.state_dir, study.name), _about(plan, study)
    about.write(folder)
    tracker = StudyTracker(
        study,
        plan.info,
        study.settings | about.params(),
        lambda trial: plan.trial_uri(study, trial),
        folder,
    )
    tracker.tag({"cgnet.command": about.command})
    ended_by = None
    with closed_if_it_fails(tracker):
        with _groups(plan, study, to_train) as (slots, broker):
            if more:
                _train(plan, study, tracker, started, slots, broker)
            ended_by = _ended_by(plan.effort, study, time.monotonic() - started)
            if to_train and plan.num_seeds and ended_by:
                ended_by = ended_by if _confirm(plan, study, known, broker) else None
        trials = study.trials()
        confirmation = None
        if plan.num_seeds and ended_by:
            confirmation = confirmation_of(plan.confirmation(study), study, known)
        picture = _draw(plan, study, trials, tracker, confirmation)
        champion = register(plan, study, known, confirmation, tracker.run_id)
    lost = tracker.close(finished=ended_by is not None)
    return Outcome(trials, ended_by, picture, tracker.address, champion, confirmation, lost)


@contextmanager
def closed_if_it_fails(tracker: StudyTracker) -> Iterator[None]:
    """End the study's run in MLflow also when something goes wrong, and raise that."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # a full disk again: what was wrong first is told
            tracker.close(finished=False)
        raise


def register(
    plan: SearchPlan,
    study: Study,
    known: Confirmations,
    confirmation: Confirmation | None,
    run_id: str,
) -> str | None:
    """Register the champion, if there is one; what keeps it from being so costs no result."""
    try:
        best = find_champion(plan, study, known, confirmation)
        return register_champion(best, plan.info, run_id=run_id) if best else None
    except Exception as error:  # MLflow, S3 and ONNX each have errors of their own
        log.warning("no champion was registered", exc_info=True)
        reason = one_line(error)
        if isinstance(error, MlflowException) and not is_refusal(error):
            reason = "MLflow does not answer, or is not this study's"
        say(f"warning: no champion was registered ({reason}): the same command does it later")
        return None


def _pending(plan: SearchPlan, study: Study, known: Confirmations) -> list[Retraining]:
    """Return what is left to train again of a search that has ended."""
    return known.pending(plan.confirmation(study).retrainings) if plan.num_seeds else []


def _start_mlflow(state_dir: Path) -> None:
    services.ensure_environment(state_dir, needs_s3=False, needs_mlflow=True)
    check_mlflow()


def _ended_by(effort: Effort, study: Study, seconds: float) -> str | None:
    """Return what has ended the search, or None when there is more to do."""
    if any(trial.state is State.RUNNING for trial in study.trials()):
        return None  # an interrupted one goes on, whatever limit has been reached
    if study.is_used_up:
        return "every network that fits"
    return effort.spent(study.progress, seconds)


@contextmanager
def _groups(plan: SearchPlan, study: Study, to_train: bool) -> Iterator[tuple[int, Any]]:
    """Run as many training groups as there is work for; yield their number and their broker."""
    if not to_train:
        yield 0, None
        return
    workers = plan.training.num_workers
    slots = cluster.num_slots(workers)
    if plan.effort.trials is not None and not plan.num_seeds:
        slots = min(slots, trials_left(plan.effort.trials, study.trials()))
    with training_groups(slots, workers) as broker:
        yield slots, broker


def trials_left(goal: int, trials: list[TrialRecord]) -> int:
    """Return how many are to be trained: new ones up to the goal, and all that were interrupted."""
    interrupted = sum(trial.state is State.RUNNING for trial in trials)
    return max(interrupted, goal - (len(trials) - interrupted))


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


def _about(plan: SearchPlan, study: Study) -> StudyAbout:
    return StudyAbout(
        command=command_line("pipeline.search", sys.argv[1:]),
        store=absolute_uri(plan.store),
        dataset=plan.info.name,
        image_size=plan.info.image_size,
        num_samples=plan.info.num_samples,
        class_names=plan.info.classes.names,
        networks=plan.num_networks,
        networks_within_budget=len(study.pool),
        sampler=study.strategy.sampler,
        stopping=study.strategy.stopping,
        versions=versions(),
        machine=machine(),
    )


def _confirm(plan: SearchPlan, study: Study, known: Confirmations, broker: Any) -> bool:
    """Train again what is to be; return whether it came to its end, and not to Ctrl-C."""
    wanted = plan.confirmation(study).retrainings
    try:
        say(f"{len(wanted)} trainings, {plan.num_seeds} a network, to confirm the front")
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


def _draw(
    plan: SearchPlan,
    study: Study,
    trials: list[TrialRecord],
    tracker: StudyTracker,
    confirmation: Confirmation | None,
) -> Path:
    """Draw the study, here and in MLflow; return where the picture of the front is."""
    again = confirmation.networks if confirmation else ()
    seeds = {one.network.id: tuple(run.mean_iou for run in one.runs) for one in again}
    title = f"{study.name}: CGNet variants on {plan.info.name}, {plan.training.epochs} epochs"
    beside = rivals(_trainings(plan, study.settings), trials)
    beside += [Rival(o.network.label, o.num_params, o.mean_iou) for o in again if o.is_peer]
    files = study_files(trials, study.budget, study.floor, title, seeds=seeds, rivals=beside)
    if confirmation:
        files["confirmation.json"] = json.dumps(confirmation_json(confirmation)).encode()
    folder = study_folder(plan.state_dir, study.name)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    tracker.log_files(list(files))
    tracker.log_table("front_table.json", front_rows(trials, seeds))
    if words := note(trials, study, confirmation):
        tracker.tag({"mlflow.note.content": words})
    return folder / PICTURE


def _trainings(plan: SearchPlan, settings: Mapping[str, Any]) -> list[Training]:
    try:
        return comparable_trainings(plan.store, plan.info.name, settings)
    except (PipelineError, OSError):
        return []  # they are a favour: the front is drawn without
