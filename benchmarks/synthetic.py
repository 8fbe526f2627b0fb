"""A synthetic table to compare searches on, in seconds. NOTHING HERE WAS TRAINED.

The landscape is invented; six published (M, N) points set its level. ``Landscape(seed)`` is one
instance, ``Landscape(seed, **HARD)`` the hard variant. Hypervolume: reference (0.5 M, 50 % mIoU),
as a share of the true front's; a front is chosen by noisy values and scored by true ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import EpochResult
from pipeline.core.space import Pool, SearchSpace

BUDGET, FLOOR, EPOCHS, NUM_CLASSES = 500_000, 0.5, 27, 19
HARD = {"rough": 1.5, "noise": 0.9}

Array = NDArray[np.float64]


SPACE = SearchSpace(
    name="synthetic",
    choices={
        "num_blocks_2": tuple(range(1, 9)),
        "num_blocks_3": tuple(range(3, 31)),
        "dilations_2": ((1,), (2,), (3,), (4,)),
        "dilations_3": ((2,), (4,), (8,), (2, 4, 8)),
        "reduction_2": (4, 8, 16, 32),
        "reduction_3": (4, 8, 16, 32),
        "widths": ((32, 48, 96), (32, 64, 128), (32, 80, 160)),
        "residual": ("global", "local"),
    },
)
_WIDTH_FACTORS = np.array([0.75, 1.0, 1.25])


@dataclass(frozen=True, eq=False)
class Landscape:
    """The accuracy in % of every architecture at every epoch; ``rough`` and ``noise`` in % too."""

    seed: int
    pool: Pool = field(repr=False)
    rough: float = 0.7
    noise: float = 0.45

    @cached_property
    def _drawn(self) -> tuple[Array, Array]:
        """Return the final accuracy and the learning speed of every row."""
        g = np.random.default_rng(10_000 + self.seed)
        X, P = _encode(self.pool), self.pool.picks
        f = _trend(P)
        W = g.normal(size=(X.shape[1], 64))
        W = W / np.array([0.6, 0.5, 0.8, 0.8, 0.8, 1, 1, 0.8, 1.0])[:, None]
        b = g.uniform(0, 2 * np.pi, 64)
        f = f + self.rough * np.sqrt(2 / 64) * np.cos(X @ W + b) @ g.normal(size=64)
        W2 = g.normal(size=(X.shape[1], 64))
        z = np.sqrt(2 / 64) * np.cos(X @ W2 + b) @ g.normal(size=64)
        N, w = P[:, 1] + 3.0, _WIDTH_FACTORS[P[:, 6]]
        speed = 0.62 * np.exp(-0.22 * np.log(N / 12) - 0.15 * np.log2(w) + 0.16 * z)
        return f, speed

    @property
    def final(self) -> Array:
        """Return the true accuracy (rows,) after the last epoch, in %."""
        return self._drawn[0]

    def curve(self, row: int, draw: np.random.Generator) -> Array:
        """Return one noisy training run (epochs,) in %; its last value is the truth plus noise."""
        e = np.arange(1, EPOCHS + 1)
        f, a = self._drawn[0][row], self._drawn[1][row]
        run = draw.normal() * self.noise
        y = f - 38 * ((e + 0.5) ** -a - (EPOCHS + 0.5) ** -a)
        y = y + run * np.sqrt(e / EPOCHS)
        noisy: Array = y + draw.normal(size=EPOCHS) * 1.5 * (1 - e / EPOCHS)
        return noisy

    def training(self, row: int, seed: int) -> Sequence[EpochResult]:
        """Return one training run as epochs of one second each."""
        values = self.curve(row, np.random.default_rng((seed, row))) / 100
        return [
            EpochResult(epoch, EPOCHS, 1.0, float(value), (), 1.0, 0.0)
            for epoch, value in enumerate(values, 1)
        ]

    def hypervolume(self, rows: Sequence[int], seen: Sequence[float]) -> float:
        """Return the true hypervolume of the front that ``seen`` values choose, of the best's."""
        if not rows:
            return 0.0
        chosen = np.array(rows)[_front(self.pool.num_params[list(rows)], np.array(seen))]
        return _area(self.pool.num_params[chosen], self.final[chosen]) / self._best

    def claimed(self, rows: Sequence[int], seen: Sequence[float]) -> float:
        """Return the hypervolume that ``seen`` values themselves say, of the best's."""
        return _area(self.pool.num_params[list(rows)], np.array(seen)) / self._best

    @cached_property
    def _best(self) -> float:
        rows = _front(self.pool.num_params, self.final)
        return _area(self.pool.num_params[rows], self.final[rows])


def _encode(pool: Pool) -> Array:
    P = pool.picks
    M, N = P[:, 0] + 1.0, P[:, 1] + 3.0
    columns = [np.log(M) / np.log(8), np.log(N / 3) / np.log(10), P[:, 2] / 3.0]
    columns += [np.where(P[:, 3] < 3, P[:, 3] / 2.0, 0.5), (P[:, 3] == 3) * 1.0]
    columns += [P[:, 4] / 3.0, P[:, 5] / 3.0, P[:, 6] / 2.0, P[:, 7] * 1.0]
    return np.stack(columns, 1)


def _trend(P: NDArray[np.int16]) -> Array:
    M, N, w = P[:, 0] + 1.0, P[:, 1] + 3.0, _WIDTH_FACTORS[P[:, 6]]
    f = 80.6 - 31.2 * np.exp(-N / 35) - 0.9 * np.log(M / 3.6) ** 2
    field_of_view = (P[:, 2] + 1) * M * 2 + np.array([2, 4, 8, 4.5])[P[:, 3]] * N * 4
    base = 2 * 3 * 2 + 4 * 21 * 4.0
    f = f - 0.55 * np.log2(field_of_view / base) ** 2 + 0.55 * np.log2(N / 21.0) ** 2 * 0.5
    f = f + np.array([-0.9, 0, 0.1, -0.4])[P[:, 2]] + np.where(P[:, 3] == 3, 0.8 * (N >= 6), 0)
    f = f - 0.12 * (P[:, 4] - 1) - 0.25 * (P[:, 5] - 2) * (P[:, 5] > 1)
    f = f + 0.18 * (P[:, 5] < 2) * (2 - P[:, 5])
    trend: Array = f + 7.0 * np.log2(w) * (1 - 0.25 * (N - 15) / 15) - 6.3 * (P[:, 7] == 1)
    return trend


def _front(sizes: NDArray[np.int64], values: Array) -> list[int]:
    best, front = -np.inf, []
    for i in np.lexsort((-values, sizes)):
        if values[i] > best:
            best = values[i]
            front.append(int(i))
    return front


def _area(sizes: NDArray[np.int64], values: Array) -> float:
    """Return the area dominated, in millions of parameters times %."""
    best, area = 100 * FLOOR, 0.0
    for i in np.lexsort((-values, sizes)):
        if sizes[i] < BUDGET and values[i] > best:
            area += (BUDGET - sizes[i]) / 1e6 * (values[i] - best)
            best = values[i]
    return float(area)
