"""Samplers that choose among the rows of a pool, as Optuna knows samplers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.architecture import Architecture
from pipeline.core.encoding import encode
from pipeline.core.proposer import Observations, Proposer
from pipeline.core.space import Label, Pool, SearchSpace
from pipeline.runtime.sizes import Sizes

PREDICTION = "prediction"  # user attribute of a stopped trial: its mean and variance
WARM_START = "warm_start"  # user attribute of a study: what other studies know
MIN_SEEN = 4  # trials ended before a model is worth asking


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the choices of a space as Optuna knows them; consecutive numbers keep order."""
    return {name: _distribution(space.labels(name)) for name in space.choices}


def _distribution(labels: Sequence[Label]) -> BaseDistribution:
    if all(isinstance(label, int) for label in labels):
        low, high = int(labels[0]), int(labels[-1])
        if list(labels) == list(range(low, high + 1)):
            return IntDistribution(low, high)
    return CategoricalDistribution(labels)


class Seen:
    """Which row each trial of a study has; a trial is looked up once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rows: dict[int, int | None] = {}
        self.taken = np.zeros(len(pool), dtype=np.bool_)

    def read(self, trials: Sequence[FrozenTrial]) -> dict[int, int | None]:
        """Return the row by trial number; None for one that is not in the pool."""
        for trial in trials:
            known = trial.number in self._rows
            if known or trial.params.keys() != self._pool.space.choices.keys():
                continue
            row = self._rows[trial.number] = self._pool.row(trial.params)
            if row is not None:
                self.taken[row] = True
        return self._rows


class RowSampler(optuna.samplers.BaseSampler):
    """Chooses a whole architecture at once: a row of the pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return every choice: a candidate is judged whole."""
        return distributions(self.pool.space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Refuse: every choice is made by ``sample_relative``."""
        raise LookupError(f"{param_name} is no choice of space {self.pool.space.name}")


class EHVISampler(RowSampler):
    """Proposes what is expected to raise the hypervolume most, the size being known.

    A function of the study's trials and the seed: after a restart it proposes what it would have.
    """

    def __init__(
        self,
        pool: Pool,
        sizes: Sizes,
        seed: int,
        *,
        limit: float,
        floor: float,
        max_candidates: int,
    ) -> None:
        super().__init__(pool)
        self.proposer = Proposer(encode(pool), sizes.values, limit, floor, max_candidates)
        self._sizes = sizes
        self._seed = seed
        self._seen = Seen(pool)
        self._elsewhere = Observations()

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the labels of the most promising architecture that the study does not hold."""
        trials = study.get_trials(deepcopy=False)
        rows = self._seen.read(trials)
        own = _observations(trials, rows)
        if WARM_START in study.user_attrs and not len(self._elsewhere):
            self._elsewhere = warm_observations(study, self.pool)
        running = [
            row
            for other in trials
            if other.state is TrialState.RUNNING and (row := rows.get(other.number)) is not None
        ]
        draw = np.random.default_rng((self._seed, len(rows)))
        free = np.flatnonzero(~self._seen.taken & self._sizes.fits)
        proposer = replace(self.proposer, sizes=self._sizes.values)
        if len(own) + len(self._elsewhere) < MIN_SEEN:
            return dict(self.pool.labels(_some_size(free, self.pool.num_params, draw)))
        at = np.array(running, dtype=np.int64)
        return dict(self.pool.labels(proposer.propose(free, own, at, self._elsewhere, draw)))


def _some_size(free: NDArray[np.int64], sizes: NDArray[np.int64], draw: np.random.Generator) -> int:
    """Return a row of about a size drawn from the whole range: any of the hundredth around it."""
    left = sizes[free]
    at = int(np.searchsorted(left, draw.uniform(left[0], left[-1])))
    reach = max(len(free) // 200, 1)
    return int(draw.choice(free[max(at - reach, 0) : at + reach]))


def _observations(trials: Sequence[FrozenTrial], rows: dict[int, int | None]) -> Observations:
    seen: list[tuple[int, float, float]] = []
    for trial in trials:
        if (row := rows.get(trial.number)) is None:
            continue
        if trial.state is TrialState.COMPLETE:
            seen.append((row, trial.values[0], 0.0))
        elif trial.state is TrialState.PRUNED and (told := trial.user_attrs.get(PREDICTION)):
            seen.append((row, told["mean"], told["variance"]))
    return as_observations(seen)


def as_observations(seen: Sequence[tuple[int, float, float]]) -> Observations:
    """Return (row, accuracy, variance) of each as the model takes them."""
    if not seen:
        return Observations()
    rows, values, variances = zip(*seen, strict=True)
    return Observations(
        np.array(rows, dtype=np.int64), np.array(values, float), np.array(variances, float)
    )


def warm_observations(study: optuna.Study, pool: Pool) -> Observations:
    """Return what other studies know of this pool's architectures, as kept in the study."""
    told = study.user_attrs.get(WARM_START, {}).get("trials", ())
    found = ((pool.row_of(Architecture.from_dict(a)), mean, var) for a, mean, var in told)
    return as_observations([(row, mean, var) for row, mean, var in found if row is not None])


class GridSampler(RowSampler):
    """Proposes every architecture of the pool in turn, the smallest first."""

    def __init__(self, pool: Pool, sizes: Sizes) -> None:
        super().__init__(pool)
        self._sizes = sizes
        self._seen = Seen(pool)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the labels of the smallest architecture that the study does not hold."""
        self._seen.read(study.get_trials(deepcopy=False))
        free = np.flatnonzero(~self._seen.taken & self._sizes.fits)
        return dict(self.pool.labels(int(free[0])))


class RandomSampler(RowSampler):
    """Draws among the architectures left, each as likely; after a restart as it would have."""

    def __init__(self, pool: Pool, sizes: Sizes, seed: int) -> None:
        super().__init__(pool)
        self._sizes = sizes
        self._seed = seed
        self._seen = Seen(pool)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the labels of an architecture that fits and that the study does not hold."""
        known = self._seen.read(study.get_trials(deepcopy=False))
        free = np.flatnonzero(~self._seen.taken & self._sizes.fits)
        draw = np.random.default_rng((self._seed, len(known)))
        return dict(self.pool.labels(int(draw.choice(free))))
