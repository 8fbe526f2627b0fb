"""A search on deployed size: larger networks are tried once it is known what dies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from pipeline.core.config import EpochResult
from pipeline.core.space import Pool, load_space
from pipeline.runtime.records import State, TrialRecord, front
from pipeline.runtime.sizes import REACH
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.study_storage import study_storage

BUDGET = 400_000
SETTINGS = {"budget": BUDGET, "budget_on": "deployed", "epochs": 1, "space": "cgnet"}


def pool() -> Pool:
    return load_space("cgnet").pool(11).within(REACH * BUDGET)


def share(trial: TrialRecord) -> float:
    """What is left of a network: about two thirds, by its depth of stage 2."""
    return 0.6 + 0.02 * (trial.architecture.num_blocks_2 % 5)


def train(study: Study, count: int) -> list[TrialRecord]:
    """Train networks of which two thirds stay alive; the larger the better."""
    done = []
    for moment in range(count):
        trial = study.propose(moment)
        assert trial is not None
        mean_iou = 0.3 + trial.num_params / 3e6
        deployed = round(share(trial) * trial.num_params)
        result = EpochResult(1, 1, 1.0, mean_iou, (mean_iou,), 1.0, 1.0)
        study.add_result(trial.number, replace(result, deployed_parameters=deployed), moment)
        assert study.settle(trial.number)
        done.append(trial)
    return done


@pytest.mark.parametrize("sampler", ["ehvi", "random", "tpe"])
def test_what_is_over_budget_as_built_is_tried_once_it_is_known_to_fit(
    sampler: str, tmp_path: Path
) -> None:
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", pool(), SETTINGS, seed=1, strategy=Strategy(sampler))
        proposed = train(study, 30)
        after = study.trials()
        reopened = Study(storage, "s", pool(), SETTINGS, seed=1, strategy=Strategy(sampler))

        assert proposed[0].num_params <= BUDGET, "nothing is known to die before a training"
        assert max(trial.num_params for trial in proposed) > 1.2 * BUDGET
        assert all(trial.num_params <= BUDGET for trial in front(after))
        assert 0 < study.hypervolume < 1
        for trial in after:
            size = trial.deployed_parameters
            assert (trial.state is State.COMPLETE) == (size <= BUDGET)
            assert ("over the budget" in trial.judgement) == (size > BUDGET)
        assert reopened.trials() == after
        assert (reopened.sizes.values == study.sizes.values).all()
        assert reopened.hypervolume == study.hypervolume
        assert reopened.progress == study.progress


def test_the_prediction_says_its_error() -> None:
    study = Study(optuna.storages.InMemoryStorage(), "s", pool(), SETTINGS, seed=0)
    assert study.sizes.report is None
    trained = train(study, 12)

    rows = np.array([trial.row for trial in trained])
    assert (study.sizes.values[rows] == [round(share(t) * t.num_params) for t in trained]).all()
    assert study.sizes.shrinkage.error is not None
    assert 0 < study.sizes.shrinkage.error < 0.1
    assert "12 trained networks" in str(study.sizes.report)
