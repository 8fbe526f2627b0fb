"""Which architecture is trained next: any sampler behind an exact gate.

A proposal over budget, or of an architecture the study already holds, never becomes a trial.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.architecture import Architecture
from pipeline.core.encoding import encode
from pipeline.core.errors import UsageError
from pipeline.core.space import Pool
from pipeline.runtime.samplers import (
    WARM_START,
    EHVISampler,
    GridSampler,
    RandomSampler,
    RowSampler,
    Seen,
)
from pipeline.runtime.sizes import Sizes

NUM_START = 6  # trials spread over the sizes before a model proposes
_SLOW_PATIENCE = 3  # of a sampler that thinks for a second and then mostly says the same


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


class GatedSampler(RowSampler):
    """Starts spread over the sizes, then asks ``proposer``, and lets through what is new and fits.

    When the proposer cannot come up with such an architecture, the nearest of those left stands for
    what it said last.
    """

    def __init__(
        self,
        pool: Pool,
        sizes: Sizes,
        proposer: optuna.samplers.BaseSampler,
        seed: int,
        *,
        num_start: int = NUM_START,
        patience: int = 100,
    ) -> None:
        super().__init__(pool)
        self.sizes = sizes
        self.proposer = proposer
        # A pool is in rising order, so that its rows are those of the part that fits by now.
        self.start = start_rows(pool.keep(sizes.fits), num_start, seed) if num_start else []
        # In a table of few networks hardly any proposal is one of them: asking again is in vain.
        is_sparse = len(pool) * patience < math.prod(map(len, pool.space.choices.values()))
        self.patience = 1 if is_sparse else patience
        self._seen = Seen(pool)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the labels of an architecture within budget that the study does not hold."""
        self._seen.read(study.get_trials(deepcopy=False))
        taken = self._seen.taken | ~self.sizes.fits
        if WARM_START not in study.user_attrs:
            for row in self.start:
                if not taken[row]:
                    return dict(self.pool.labels(row))
        for _ in range(self.patience):
            labels = self._propose(study, trial, search_space)
            if (found := self.pool.row(labels)) is not None and not taken[found]:
                return labels
        left = self.pool.keep(~taken)
        apart = np.square(encode(left) - encode(self.pool.asked(labels))).sum(axis=1)
        return dict(left.labels(int(np.argmin(apart))))

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        joint = self.proposer.infer_relative_search_space(study, trial)
        labels = self.proposer.sample_relative(study, trial, joint)
        for name, distribution in space.items():
            if name not in labels:
                labels[name] = self.proposer.sample_independent(study, trial, name, distribution)
        return labels

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass on what Optuna tells every sampler."""
        self.proposer.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass on what Optuna tells every sampler."""
        self.proposer.after_trial(study, trial, state, values)


def make_sampler(
    name: str,
    pool: Pool,
    sizes: Sizes,
    seed: int,
    *,
    limit: float,
    floor: float,
    max_candidates: int,
) -> GatedSampler:
    """Return the sampler of this name behind the gate.

    Args:
        name: ehvi, tpe, nsga2, gp, random or grid.
        pool: the architectures that may be trained.
        sizes: what they count as, and which of them fit.
        seed: of all that is drawn.
        limit: the least size that does not count; of ehvi.
        floor: the accuracy that must be exceeded to count; of ehvi.
        max_candidates: among which ehvi chooses at a time.

    Raises:
        UsageError: there is no such sampler.
    """
    match name:
        case "ehvi":
            ehvi = EHVISampler(
                pool, sizes, seed, limit=limit, floor=floor, max_candidates=max_candidates
            )
            return GatedSampler(pool, sizes, ehvi, seed)
        case "tpe":
            tpe = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, n_startup_trials=NUM_START
            )
            return GatedSampler(pool, sizes, tpe, seed)
        case "nsga2":
            nsga2 = optuna.samplers.NSGAIISampler(seed=seed, population_size=16)
            return GatedSampler(pool, sizes, nsga2, seed)
        case "gp":
            gp = optuna.samplers.GPSampler(seed=seed, n_startup_trials=NUM_START)
            return GatedSampler(pool, sizes, gp, seed, patience=_SLOW_PATIENCE)
        case "random":
            return GatedSampler(pool, sizes, RandomSampler(pool, sizes, seed), seed)
        case "grid":
            return GatedSampler(pool, sizes, GridSampler(pool, sizes), seed, num_start=0)
    raise UsageError(f"no sampler {name!r}: there are ehvi, tpe, nsga2, gp, random and grid")
