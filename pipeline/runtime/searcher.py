"""What Ray Tune asks for trials and tells of them: it passes both to the study."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ray.tune.search import Searcher

from pipeline.core.config import TrialSpec
from pipeline.core.stopping import rungs
from pipeline.runtime.broker import Event
from pipeline.runtime.console import say
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.study import Study

EVENT = "event"  # the key of what a trial reports
ACTOR_DEATHS = 10  # of one trial; its actor only waits, so that they are mostly those of machines
_FINISHED: Any = Searcher.FINISHED  # a text, of which the type of ``suggest`` knows nothing


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


class StudySearcher(Searcher):
    """Tune asks it for trials and tells it their results; it passes both to the study.

    It also passes the study's verdicts on to the groups. A scheduler of Tune's could only end the
    Tune trial, while the group trained on.
    """

    def __init__(
        self,
        study: Study,
        spec_of: SpecOf,
        broker: Any,
        listeners: list[Listener],
        checkpoints: CheckpointsOf,
        is_spent: Callable[[int], bool],
    ) -> None:
        """Begin with the trials that an earlier driver left running.

        Args:
            study: proposes, judges, and keeps every result.
            spec_of: what training a trial means.
            broker: of the training groups.
            listeners: told of everything.
            checkpoints: URI of a trial's own folder.
            is_spent: whether, with so many trials running, no other is to be started.
        """
        super().__init__(metric=EVENT, mode="max")
        self._study = study
        self._spec_of = spec_of
        self._broker = broker
        self._is_spent = is_spent
        self._listeners = listeners
        self._checkpoints = checkpoints
        self._numbers: dict[str, int] = {}
        self.outage = ""  # what ended the search early
        self.error: Exception | None = None  # as it was before Tune made it one of its own
        self._left_running = [t for t in study.trials() if t.state is State.RUNNING]

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune, which pickles its searcher, nothing to restore: the study is the record."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's job: one left running by an earlier driver, or a new proposal.

        None while there is no more to do unless a running trial changes that, as one that raises
        the hypervolume does where patience is the limit.
        """
        with self._keeping_errors():
            if (trial := self._next()) is not None:
                return self._job(trial_id, trial)
            return None if self._numbers else _FINISHED

    @contextmanager
    def _keeping_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            raise

    def _job(self, trial_id: str, trial: TrialRecord) -> dict[str, Any]:
        self._numbers[trial_id] = trial.number
        for listener in self._listeners:
            listener.started(trial)
        spec = self._spec_of(trial)
        return {
            "id": trial_id,
            "spec": spec.to_json(),
            "checkpoints": self._checkpoints(trial),
            "rungs": rungs(spec.training.epochs),
        }

    def _next(self) -> TrialRecord | None:
        if self.outage:
            return None
        if self._left_running:
            return self._left_running.pop(0)
        if self._is_spent(len(self._numbers)):
            return None
        return self._study.propose(_now_ms())

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an epoch's result in the study before anyone is told; at a rung, pass judgement."""
        with self._keeping_errors():
            self._hear(trial_id, self._numbers[trial_id], result[EVENT])

    def _hear(self, trial_id: str, number: int, event: Event) -> None:
        if event.outage and not event.ends:
            say(f"trial {number} waits: {event.outage}")
        if event.result is None:
            return
        if self._study.add_result(number, event.result, _now_ms()):
            trial = self._study.trial(number)
            for listener in self._listeners:
                listener.reached(trial)
        if event.result.epoch in rungs(event.result.epochs):
            verdict = self._study.trial(number).verdict_at(event.result.epoch)
            goes_on = verdict is None or not verdict.stop
            self._broker.judge.remote(trial_id, event.result.epoch, goes_on)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """End the trial in the study: with its last result, or with what went wrong."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        self._broker.forget.remote(trial_id)
        with self._keeping_errors():
            self._end(number, result[EVENT] if result else Event(), error)

    def _end(self, number: int, event: Event, error: bool) -> None:
        if self._study.settle(number):
            pass
        elif error:
            self._study.fail(number, f"its Tune actor died {ACTOR_DEATHS + 1} times")
        elif event.failure:
            self._study.fail(number, event.failure)
        else:  # interrupted: it stays running, and the next driver takes it up
            self.outage = self.outage or (event.outage if event.ends else "")
            return
        for listener in self._listeners:
            listener.ended(self._study.trial(number))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state here that the study does not hold."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see ``save``."""


def _now_ms() -> int:
    return int(time.time() * 1000)
