"""What the gate makes of proposals that may not be trained, and what is drawn after a restart."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from pipeline.core.space import Pool, load_space
from pipeline.runtime.proposals import GatedSampler
from pipeline.runtime.samplers import distributions
from pipeline.runtime.sizes import Sizes
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy


class Stubborn(BaseSampler):
    """Says the same network each time."""

    def __init__(self, labels: dict[str, Any]) -> None:
        self.labels = labels
        self.asked = 0

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self.asked += 1
        return dict(self.labels)

    def sample_independent(self, *args: Any) -> Any:
        raise AssertionError("every choice was made")


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_space("cgnet").pool(11)


def test_the_nearest_network_left_stands_for_one_that_is_not_there(pool: Pool) -> None:
    names = ("dilations_2", "dilations_3", "reduction_2", "reduction_3")
    common = {name: pool.space.labels(name)[0] for name in names}
    rows = [pool.row({"num_blocks_2": 3, "num_blocks_3": n, **common}) for n in (1, 8, 14, 20)]
    table = pool.keep(np.isin(np.arange(len(pool)), rows))
    proposer = Stubborn({"num_blocks_2": 3, "num_blocks_3": 12, **common})
    sampler = GatedSampler(
        table, Sizes(table, 500_000, deployed=False), proposer, seed=0, num_start=0
    )
    study = optuna.create_study(sampler=sampler, directions=["minimize", "maximize"])

    taken = [study.ask(distributions(table.space)).params["num_blocks_3"] for _ in rows]

    assert taken == [14, 8, 20, 1]  # by the logarithm of the depth
    assert proposer.asked == len(rows), "of a table of four it is asked once a trial"


def test_random_draws_go_on_after_a_restart_as_they_would_have(pool: Pool) -> None:
    small = pool.within(500_000)

    def opened(storage: InMemoryStorage) -> Study:
        settings = {"budget": 500_000, "floor": 0.0}
        return Study(storage, "s", small, settings, seed=3, strategy=Strategy("random"))

    def drawn(study: Study) -> int:
        trial = study.propose()
        assert trial is not None
        return trial.row

    whole, storage = opened(InMemoryStorage()), InMemoryStorage()
    uninterrupted = [drawn(whole) for _ in range(14)]

    assert [drawn(opened(storage)) for _ in range(14)] == uninterrupted
    assert len(set(uninterrupted)) == 14
