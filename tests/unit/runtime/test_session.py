"""The parts of a search's run that decide something by themselves."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import optuna
import pytest

from pipeline.core.space import load_space
from pipeline.runtime import session
from pipeline.runtime.study import Study


@pytest.mark.parametrize(
    ("goal", "ended", "interrupted", "left"),
    [(5, 0, 0, 5), (5, 2, 0, 3), (5, 2, 2, 3), (2, 2, 1, 1), (3, 2, 2, 2), (1, 2, 0, 0)],
)
def test_there_is_a_place_for_each_trial_that_is_left(
    goal: int, ended: int, interrupted: int, left: int
) -> None:
    """With the goal reached by others, an interrupted trial still needs one to go on in."""
    pool = load_space("smoke").pool(11)
    settings = {"budget": 25_000, "epochs": 2}
    study = Study(optuna.storages.InMemoryStorage(), "s", pool, settings, seed=1)
    for number in range(ended + interrupted):
        study.propose()
        if number < ended:
            study.fail(number, "the loss is nan")

    assert session.trials_left(goal, study.trials()) == left


class OnnxruntimeFail(Exception):  # as onnxruntime's: of no base but this one
    """What none of ours expects."""


def test_what_keeps_a_champion_from_being_registered_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = Mock(side_effect=OnnxruntimeFail("[ONNXRuntimeError] : 1 : FAIL\nmore of it"))
    monkeypatch.setattr(session, "find_champion", failing)
    anything: Any = SimpleNamespace()

    assert session.register(anything, anything, anything, None, "run") is None
    assert capsys.readouterr().err == (
        "warning: no champion was registered ([ONNXRuntimeError] : 1 : FAIL): the same command "
        "does it later\n"
    )
