"""Whole searches on a virtual clock: within budget, never twice, and killed at any point."""

import math
import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from pipeline.core.config import EpochResult
from pipeline.core.effort import Effort
from pipeline.core.space import Pool, load_space
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.study_storage import study_storage

BUDGET, EPOCHS = 500_000, 9
SETTINGS = {"budget": BUDGET, "floor": 0.2}


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_space("cgnet").pool(11).within(BUDGET)


def training(trial: TrialRecord) -> Sequence[EpochResult]:
    """An invented training that is a function of the architecture: depth pays and takes time."""
    a = trial.architecture
    noise = np.random.default_rng(int(a.id, 16)).normal(size=EPOCHS) * 0.01
    final = 0.3 + 0.1 * math.log(a.num_blocks_3) - 0.02 * abs(a.num_blocks_2 - 3)
    seconds = 0.1 * (a.num_blocks_2 + a.num_blocks_3)
    return [
        EpochResult(e, EPOCHS, 1.0, final - 0.2 * (1 - e / EPOCHS) + noise[e - 1], (), seconds, 0.0)
        for e in range(1, EPOCHS + 1)
    ]


def searched(pool: Pool, strategy: Strategy, workers: int, effort: Effort) -> Study:
    storage = optuna.storages.InMemoryStorage()
    study = Study(storage, "s", pool, SETTINGS, seed=1, strategy=strategy)
    simulate(study, training, workers=workers, effort=effort)
    return study


def outcome(study: Study) -> list[Any]:
    """All that matters of a search; numbers do not, as a proposal that was cut short has one."""
    return [
        (t.architecture, t.state, t.started_ms, t.reached_ms, t.verdicts) for t in study.trials()
    ]


@pytest.mark.parametrize("stopping", ["front", "asha", "none"])
@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "nsga2", "random", "grid"])
def test_no_sampler_goes_over_budget_or_tries_a_network_twice(
    pool: Pool, sampler: str, stopping: str
) -> None:
    study = searched(pool, Strategy(sampler, stopping, 256), workers=3, effort=Effort(trials=20))
    trials = study.trials()

    assert len(trials) == len({t.architecture.id for t in trials}) == 20
    assert max(t.num_params for t in trials) <= BUDGET
    assert all(t.state in (State.COMPLETE, State.STOPPED) for t in trials)
    assert all((len(t.results) == EPOCHS) is (t.state is State.COMPLETE) for t in trials)
    if stopping == "none":
        assert all(t.state is State.COMPLETE for t in trials)
    if stopping == "asha":
        assert any(t.state is State.STOPPED for t in trials)


def test_optunas_gp_sampler_stands_behind_the_same_gate(pool: Pool) -> None:
    study = searched(pool, Strategy("gp"), workers=1, effort=Effort(trials=8))

    assert len({t.architecture.id for t in study.trials()}) == 8


def test_a_small_space_is_searched_to_its_end_whatever_was_asked() -> None:
    study = searched(load_space("smoke").pool(11), Strategy(), workers=3, effort=Effort(trials=99))

    assert len(study.trials()) == study.progress.trials == 8


@pytest.mark.parametrize(
    ("effort", "least", "most"),
    [(Effort(epochs=60), 60, 60 + 2 * EPOCHS), (Effort(seconds=30.0), 1, 400)],
)
def test_no_trial_is_started_once_the_effort_is_spent(
    pool: Pool, effort: Effort, least: int, most: int
) -> None:
    study = searched(pool, Strategy("random"), workers=2, effort=effort)
    last = max(t.started_ms for t in study.trials())

    assert least <= study.progress.epochs <= most
    assert effort.seconds is None or last < effort.seconds * 1000


def test_workers_are_kept_busy_and_slow_trials_hold_nobody(pool: Pool) -> None:
    study = searched(pool, Strategy("random", "none"), workers=4, effort=Effort(trials=24))
    busy = sum(t.latest_ms - t.started_ms for t in study.trials())
    span = max(t.latest_ms for t in study.trials())

    assert busy > 0.8 * 4 * span
    starts = sorted(t.started_ms for t in study.trials())[4:]
    ends = {t.latest_ms for t in study.trials()}
    assert set(starts) <= ends, "each starts at the moment another ends"


class KillingBackend(JournalFileBackend):
    """Kills its own process, without a word, before or after one of its writes."""

    def __init__(self, path: str, writes: int, before: bool) -> None:
        super().__init__(path)
        self._left, self._before = writes, before

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._left -= 1
        if self._left == 0 and self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        super().append_logs(logs)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _drive(path: Path, pool: Pool, writes: int, before: bool) -> None:
    backend = KillingBackend(str(path), writes, before) if writes else JournalFileBackend(str(path))
    study = Study(JournalStorage(backend), "s", pool, SETTINGS, seed=1, strategy=KILLED)
    simulate(study, training, workers=3, effort=Effort(trials=24))


KILLED = Strategy("ehvi", "front", 256)


def test_a_driver_killed_twenty_times_does_what_one_that_was_not_would_have(
    pool: Pool, tmp_path: Path
) -> None:
    """No trial is lost or repeated, and every proposal and verdict is the same."""
    whole = searched(pool, KILLED, workers=3, effort=Effort(trials=24))
    assert {t.state for t in whole.trials()} == {State.COMPLETE, State.STOPPED}
    (tmp_path / "studies").mkdir()
    journal = tmp_path / "studies" / "s.journal"
    chance, fork = random.Random(0), multiprocessing.get_context("fork")
    for _ in range(20):
        kill = (chance.randint(1, 28), chance.random() < 0.5)
        driver = fork.Process(target=_drive, args=(journal, pool, *kill))
        driver.start()
        driver.join(60)
        assert driver.exitcode == -signal.SIGKILL, "it was at work when it was killed"
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", pool, SETTINGS, seed=1, strategy=KILLED)
        simulate(study, training, workers=3, effort=Effort(trials=24))

        assert outcome(study) == outcome(whole)
