"""What Tune's searcher does with what becomes of a trial."""

import errno
import signal
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
from ray.tune.search import Searcher

from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.space import load_space
from pipeline.runtime.broker import Event
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.searcher import StudySearcher
from pipeline.runtime.study import Study
from pipeline.runtime.trials import keeping_signals


class NoBroker:
    """The handle of an actor that nobody is at the other end of."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: None)


def spec(trial: TrialRecord) -> TrialSpec:
    return TrialSpec(trial.architecture, DataConfig("data", "fingerprint"), TrainConfig(2), 0)


@pytest.fixture
def searcher() -> StudySearcher:
    pool = load_space("smoke").pool(11).within(25_000)
    settings = {"budget": 25_000, "epochs": 2}
    study = Study(optuna.storages.InMemoryStorage(), "s", pool, settings, seed=1)
    return StudySearcher(study, spec, NoBroker(), [], lambda trial: "", lambda running: False)


def states(searcher: StudySearcher) -> list[State]:
    return [trial.state for trial in searcher._study.trials()]


def test_an_outage_that_ends_the_search_fails_no_trial(searcher: StudySearcher) -> None:
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_result("a", {"event": Event(outage="S3 is away")})
    assert searcher.suggest("c") != Searcher.FINISHED, "it may come back"
    for trial_id in "abc":
        over = {"event": Event(outage="S3 is away", ends=True)}
        searcher.on_trial_result(trial_id, over)
        searcher.on_trial_complete(trial_id, over)

    assert searcher.outage == "S3 is away"
    assert searcher.suggest("d") == Searcher.FINISHED
    assert states(searcher) == [State.RUNNING] * 3


def test_a_trial_that_is_interrupted_while_it_waits_is_no_outage(searcher: StudySearcher) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"event": Event(outage="S3 is away")})

    assert not searcher.outage
    assert states(searcher) == [State.RUNNING]


def test_what_is_enough_is_asked_again_while_trials_run(searcher: StudySearcher) -> None:
    """With patience for a limit a running trial may yet raise the hypervolume."""
    searcher.suggest("a")
    searcher._is_spent = lambda running: True
    assert searcher.suggest("b") is None, "and Tune asks again"
    searcher._is_spent = lambda running: False
    assert searcher.suggest("c") != Searcher.FINISHED

    searcher._is_spent = lambda running: True
    for trial_id in "ac":
        searcher.on_trial_complete(trial_id, {"event": Event(failure="nan", ends=True)})
    assert searcher.suggest("d") == Searcher.FINISHED


def test_ctrl_c_is_not_left_to_tune() -> None:
    """Tune puts its own handler in place and, when nobody pressed it, leaves it there."""
    before = signal.getsignal(signal.SIGINT)
    with keeping_signals():
        signal.signal(signal.SIGINT, lambda *_: None)

    assert signal.getsignal(signal.SIGINT) is before


def test_a_failure_is_kept_with_its_cause(searcher: StudySearcher) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"event": Event(failure="the loss is nan", ends=True)})

    assert states(searcher) == [State.FAILED]
    assert searcher._study.trials()[0].failure == "the loss is nan"


def test_an_error_of_the_study_is_kept_as_it_is(
    searcher: StudySearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune raises one of its own, which says what was wrong in a trace alone."""
    searcher.suggest("a")
    full = OSError(errno.ENOSPC, "no space")
    monkeypatch.setattr(searcher._study, "fail", Mock(side_effect=full))

    with pytest.raises(OSError, match="no space"):
        searcher.on_trial_complete("a", {"event": Event(failure="the loss is nan", ends=True)})
    assert searcher.error is full
