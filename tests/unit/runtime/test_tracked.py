"""What MLflow is told of a study: steps that never repeat, rates over the right time, JSON."""

import json
import math
from dataclasses import replace

import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.tracked import (
    child_message,
    effort_message,
    end_message,
    epoch_message,
    front_message,
    samples_per_s,
)

INFO = DatasetInfo(
    name="squares",
    fingerprint="f",
    generation="g",
    classes=ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), 255),
    num_samples={"train": 100, "val": 4},
    image_size=(32, 48),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    class_pixels=(1, 1),
    class_weights=(1.0, 1.0),
)


def trial(number: int, state: State, *reached_ms: int) -> TrialRecord:
    results = tuple(
        EpochResult(e, 3, 1.0, 0.5, (0.5, math.nan), 8.0, 2.0)
        for e in range(1, len(reached_ms) + 1)
    )
    return TrialRecord(number, Architecture(2), 400_000, state, results, reached_ms, started_ms=7)


def metrics(message: dict[str, object]) -> dict[str, tuple[float, int]]:
    return {key: (value, step) for key, value, _, step in message["metrics"]}


def test_messages_are_json_without_nan() -> None:
    one = trial(3, State.COMPLETE, 10_000)
    for message in (
        child_message(one, INFO, "s3://b/3"),
        epoch_message(one, 0, INFO),
        end_message(one, "s3://b/3"),
        front_message([one], 500_000, 0.0),
        effort_message([one], INFO, 1),
        effort_message([], INFO, 1),
    ):
        assert json.loads(json.dumps(message, allow_nan=False)) == message
    assert child_message(one, INFO, "")["name"] == "M3 N21 d2-4 r8-16 · 400k"
    assert metrics(epoch_message(one, 0, INFO))["time/samples_per_s"] == (12.5, 1)


def test_a_finished_trial_is_told_with_what_it_costs_deployed() -> None:
    one = trial(3, State.COMPLETE, 10_000, 20_000)
    last = replace(one.results[-1], deployed_parameters=180_000, deployed_macs=7_000_000)
    one = replace(one, results=(one.results[0], last))

    assert "deployed_parameters" not in metrics(epoch_message(one, 0, INFO))
    told = metrics(epoch_message(one, 1, INFO))
    assert (told["deployed_parameters"], told["deployed_macs"]) == ((180_000, 2), (7_000_000, 2))


def test_a_trial_that_ends_is_at_a_later_step_than_its_last_epoch() -> None:
    before, after = (
        metrics(effort_message([trial(0, state, 10_000)], INFO, 2))
        for state in (State.RUNNING, State.COMPLETE)
    )

    assert before["trials/running"] == (1, 2)
    assert after["trials/running"] == (0, 3), "MLflow keeps the larger of two at one step"
    assert after["time/cpu_hours"][0] == pytest.approx(2 * 10 / 3600)


def test_the_rate_is_of_all_trials_together_and_of_late() -> None:
    together = [trial(0, State.RUNNING, 20_000), trial(1, State.RUNNING, 20_000)]
    old = trial(2, State.COMPLETE, -10_000_000)

    assert samples_per_s(together, 100) == pytest.approx(20.0)
    assert samples_per_s([*together, old], 100) == pytest.approx(20.0)
    assert math.isnan(samples_per_s([], 100))
