"""Which architecture is trained next: any Optuna sampler behind an exact gate.

A proposal over budget, or of an architecture the study already holds, never becomes a trial.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

from pipeline.core.architecture import Architecture
from pipeline.core.space import Label, Pool, SearchSpace

NUM_START = 6  # trials spread over the sizes before a model proposes
_MAX_REFUSALS = 100


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the choices of a space as Optuna knows them; consecutive numbers keep order."""
    return {name: _distribution(space.labels(name)) for name in space.choices}


def _distribution(labels: Sequence[Label]) -> BaseDistribution:
    if all(isinstance(label, int) for label in labels):
        low, high = int(labels[0]), int(labels[-1])
        if list(labels) == list(range(low, high + 1)):
            return IntDistribution(low, high)
    return CategoricalDistribution(labels)


def start_rows(pool: Pool, count: int, seed: int) -> list[int]:
    """Return the rows of ``pool`` that a study begins with.

    The paper's M3N21 where it fits, the smallest network, then one from each equal share of the
    range of sizes, largest share first, so that the front has both its ends early.
    """
    draw = np.random.default_rng(seed)
    paper = Architecture(num_classes=pool.num_classes)
    rows = [] if (found := pool.row_of(paper)) is None else [found]
    rows.append(0)
    edges = np.linspace(pool.num_params[0], pool.num_params[-1] + 1, max(count - len(rows), 1) + 1)
    for low, high in zip(edges[-2::-1], edges[:0:-1], strict=True):
        share = np.flatnonzero((pool.num_params >= low) & (pool.num_params < high))
        if len(share):
            rows.append(int(draw.choice(share)))
    return list(dict.fromkeys(rows))[:count]


class GatedSampler(optuna.samplers.BaseSampler):
    """Starts spread over the sizes, then asks ``proposer``, and lets through what is new and fits.

    When the proposer cannot come up with such an architecture, one is drawn from those left.
    """

    def __init__(self, pool: Pool, proposer: optuna.samplers.BaseSampler, seed: int) -> None:
        self.pool = pool
        self.proposer = proposer
        self.seed = seed
        self.start = start_rows(pool, NUM_START, seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return every choice: a candidate is judged whole."""
        return distributions(self.pool.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the labels of an architecture within budget that the study does not hold."""
        taken = {
            row
            for other in study.get_trials(deepcopy=False)
            if other.params.keys() == search_space.keys()
            and (row := self.pool.row(other.params)) is not None
        }
        for row in self.start:
            if row not in taken:
                return dict(self.pool.labels(row))
        for _ in range(_MAX_REFUSALS):
            labels = self._propose(study, trial, search_space)
            if (found := self.pool.row(labels)) is not None and found not in taken:
                return labels
        left = np.setdiff1d(np.arange(len(self.pool)), list(taken))
        draw = np.random.default_rng((self.seed, trial.number))
        return dict(self.pool.labels(int(draw.choice(left))))

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        joint = self.proposer.infer_relative_search_space(study, trial)
        labels = self.proposer.sample_relative(study, trial, joint)
        for name, distribution in space.items():
            if name not in labels:
                labels[name] = self.proposer.sample_independent(study, trial, name, distribution)
        return labels

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Refuse: every choice is made by ``sample_relative``."""
        raise LookupError(f"{param_name} is no choice of space {self.pool.space.name}")
