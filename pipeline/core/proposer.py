"""Which architecture a study trains next, from what it has seen: the model and the choice."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.core.acquisition import Staircase, most_promising
from pipeline.core.gaussian_process import GaussianProcess, fit

Array = NDArray[np.float64]

MAX_CANDIDATES = 20_000  # more were no better on the synthetic table, and cost in proportion
MAX_OBSERVATIONS = 128  # a model's cost grows with their square
MAX_RUNNING = 64  # taken to turn out as expected; of more, the last that were started


@dataclass(frozen=True, eq=False)
class Observations:
    """What is known of some rows of a pool.

    Attributes:
        rows: (n,) of the pool.
        values: (n,) accuracies: as trained, or as predicted for a trial that was stopped.
        variances: (n,) of the prediction; 0 for what was trained to the end.
    """

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    values: Array = field(default_factory=lambda: np.zeros(0))
    variances: Array = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.rows)

    def __add__(self, other: "Observations") -> "Observations":
        """Return both."""
        return Observations(
            np.concatenate((self.rows, other.rows)),
            np.concatenate((self.values, other.values)),
            np.concatenate((self.variances, other.variances)),
        )

    def take(self, indices: NDArray[np.int64]) -> "Observations":
        """Return some of them."""
        return Observations(self.rows[indices], self.values[indices], self.variances[indices])


@dataclass(frozen=True, eq=False)
class Proposer:
    """Proposes rows of one pool.

    Attributes:
        features: (rows, d) of the pool in the unit cube.
        sizes: (rows,) parameters, rising.
        limit: the least size that does not count.
        floor: the accuracy that must be exceeded to count.
        max_candidates: rows among which one proposal chooses; a fresh draw when the pool has more.
    """

    features: Array
    sizes: Array
    limit: float
    floor: float
    max_candidates: int = MAX_CANDIDATES

    def propose(
        self,
        free: NDArray[np.int64],
        own: Observations,
        running: NDArray[np.int64],
        elsewhere: Observations,
        draw: np.random.Generator,
    ) -> int:
        """Return the row expected to raise the dominated area most.

        Args:
            free: rows that may be proposed.
            own: of this study; the front is theirs.
            running: rows in training, oldest first, taken to turn out as the model expects.
            elsewhere: of other studies: they inform the model and are on no front.
            draw: chooses the candidates when there are too many.
        """
        own, running = self._telling(own), running[-MAX_RUNNING:]
        process = self.model(own, elsewhere).believe(self.features[running])
        known = np.concatenate((own.rows, running))
        level, _ = process.predict(self.features[known])
        stairs = Staircase.of(self.sizes[known], level, self.limit, self.floor)
        if len(free) > self.max_candidates:
            free = np.sort(draw.choice(free, self.max_candidates, replace=False))
        mean, sd = process.predict(self.features[free])
        return int(free[most_promising(self.sizes[free], mean, sd, stairs)])

    def model(self, own: Observations, elsewhere: Observations) -> GaussianProcess:
        """Return the process that has seen these, or the most telling when there are many."""
        seen = self._telling(own + elsewhere)
        return fit(self.features[seen.rows], seen.values, seen.variances)

    def _telling(self, seen: Observations) -> Observations:
        """Return what a model can hold: half nearest to the front, half spread over the sizes."""
        if len(seen) <= MAX_OBSERVATIONS:
            return seen
        sizes = self.sizes[seen.rows]
        stairs = Staircase.of(sizes, seen.values, self.limit, self.floor)
        gap = stairs.level_at(sizes) - seen.values
        near, far = np.split(np.argsort(gap, kind="stable"), [MAX_OBSERVATIONS // 2])
        by_size = far[np.argsort(sizes[far], kind="stable")]
        spread = np.linspace(0, len(by_size) - 1, MAX_OBSERVATIONS - len(near)).astype(int)
        return seen.take(np.sort(np.concatenate((near, by_size[spread]))))
