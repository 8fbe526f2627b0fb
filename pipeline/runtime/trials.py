"""Ray Tune runs the trials of a study: placement, concurrency, a clean end on Ctrl-C.

Tune's own record of them is thrown away: the study is the one that a restart goes by. A trial that
was running when the driver died is handed out again under its number and goes on from its
checkpoint.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.search import Searcher

from pipeline.core.config import TrialSpec
from pipeline.runtime.broker import Event, Job
from pipeline.runtime.study import State, Study, TrialRecord

_EVENT = "event"


class Listener(Protocol):
    """Whoever shows or records what happens to trials."""

    def started(self, trial: TrialRecord) -> None:
        """A trial has been handed out, for the first time or again."""
        ...

    def reached(self, trial: TrialRecord) -> None:
        """A trial has a new epoch's result."""
        ...

    def ended(self, trial: TrialRecord) -> None:
        """A trial is complete, stopped or failed."""
        ...


SpecOf = Callable[[TrialRecord], TrialSpec]
CheckpointsOf = Callable[[TrialRecord], str]


def run_trials(
    study: Study,
    spec_of: SpecOf,
    broker: Any,
    listeners: list[Listener],
    *,
    num_trials: int,
    concurrency: int,
    checkpoints: CheckpointsOf,
    scratch: Path,
) -> None:
    """Train ``num_trials`` of the study, those left running first, or until its space is used up.

    Ctrl-C ends it early; what is running then stays so in the study.

    Args:
        study: proposes, and keeps every result.
        spec_of: what training a trial means.
        broker: of the training groups.
        listeners: told of everything.
        num_trials: to be ended by this call.
        concurrency: trainings at once.
        checkpoints: URI of a trial's own folder.
        scratch: folder on this machine for Tune's own record.
    """
    searcher = StudySearcher(study, spec_of, listeners, checkpoints)
    trainable = tune.with_parameters(_trial, broker=broker)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    tune.Tuner(
        # A trial waits for a training group, so it needs no CPU but a place in the queue.
        tune.with_resources(trainable, {"cpu": 0, "memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=num_trials,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=study.name, storage_path=str(scratch.resolve()), verbose=0),
    ).fit()
    shutil.rmtree(scratch / study.name, ignore_errors=True)


def _trial(config: dict[str, Any], broker: Any) -> None:
    """Hand the job to a group and pass on what comes back: all that a Tune trial does."""
    job = Job(config["id"], config["spec"], config["checkpoints"])
    ray.get(broker.submit.remote(job))
    for event in _events(broker, job.id):
        tune.report({_EVENT: event})


def _events(broker: Any, job_id: str) -> Iterator[Event]:
    while True:
        event: Event = ray.get(broker.next_event.remote(job_id))
        yield event
        if event.ends:
            return


class StudySearcher(Searcher):
    """Tune asks it for trials and tells it their results; it passes both to the study."""

    def __init__(
        self, study: Study, spec_of: SpecOf, listeners: list[Listener], checkpoints: CheckpointsOf
    ) -> None:
        super().__init__(metric=_EVENT, mode="max")
        self._study = study
        self._spec_of = spec_of
        self._listeners = listeners
        self._checkpoints = checkpoints
        self._numbers: dict[str, int] = {}
        self._left_running = [t for t in study.trials() if t.state is State.RUNNING]

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune, which pickles its searcher, nothing to restore: the study is the record."""
        return {}

    def suggest(  # type: ignore[override]  # Ray's base forgets the word that ends the search
        self, trial_id: str
    ) -> dict[str, Any] | str:
        """Return the next trial's job: one left running by an earlier driver, or a new proposal."""
        trial = self._left_running.pop(0) if self._left_running else self._study.propose()
        if trial is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = trial.number
        for listener in self._listeners:
            listener.started(trial)
        return {
            "id": trial_id,
            "spec": self._spec_of(trial).to_json(),
            "checkpoints": self._checkpoints(trial),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an epoch's result in the study before anyone is told."""
        number = self._numbers[trial_id]
        event: Event = result[_EVENT]
        if event.result and self._study.add_result(number, event.result, int(time.time() * 1000)):
            trial = self._study.trial(number)
            for listener in self._listeners:
                listener.reached(trial)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """End the trial in the study: with its last result, or with what went wrong."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        trial = self._study.trial(number)
        if trial.results and trial.results[-1].is_last:
            self._study.complete(trial)
        elif error:
            self._study.fail(number, "its Tune actor died")
        elif result and (failure := result[_EVENT].failure):
            self._study.fail(number, failure)
        else:
            return  # interrupted: it stays running, and the next driver takes it up
        for listener in self._listeners:
            listener.ended(self._study.trial(number))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state here that the study does not hold."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see ``save``."""
