"""Which candidate promises most: expected hypervolume improvement with the size known.

With size known, a network of ``p`` parameters and accuracy ``y`` adds, over each step of the front
to the right of ``p``, the step's width times what ``y`` exceeds its level by. Its expectation under
a normal ``y`` is a sum of ordinary expected improvements: exact, without sampling.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

_ROOT_2_PI = np.sqrt(2 * np.pi)
_SHORTLIST = 1024


@dataclass(frozen=True, eq=False)
class Staircase:
    """The best accuracy so far at every size: ``levels[j]`` from ``edges[j]`` to ``edges[j + 1]``.

    Attributes:
        edges: (steps + 1,) sizes, rising; the last is the reference, beyond which nothing counts.
        levels: (steps,) accuracies, rising; the first is the floor.
    """

    edges: Array
    levels: Array

    @classmethod
    def of(cls, sizes: Array, values: Array, limit: float, floor: float) -> "Staircase":
        """Build it from networks (n,), dominated ones included."""
        order = np.lexsort((-values, sizes))
        size, value = sizes[order], values[order]
        before = np.maximum.accumulate(np.concatenate(([floor], value)))[:-1]
        steps = (value > before) & (size < limit)
        edges = np.concatenate(([-np.inf], size[steps], [limit]))
        return cls(edges, np.concatenate(([floor], value[steps])))

    def level_at(self, sizes: Array) -> Array:
        """Return the best accuracy of any network that is not larger, or the floor."""
        last = len(self.levels) - 1
        steps = np.clip(np.searchsorted(self.edges, sizes, side="right") - 1, 0, last)
        level: Array = self.levels[steps]
        return level


def expected_improvement(mean: Array, sd: Array, level: Array | float) -> Array:
    """Return the expected excess over ``level`` of a normal variable."""
    z = (mean - level) / sd
    excess: Array = sd * (z * ndtr(z) + np.exp(-0.5 * z * z) / _ROOT_2_PI)
    return excess


def expected_hypervolume_improvement(
    sizes: Array, mean: Array, sd: Array, stairs: Staircase
) -> Array:
    """Return (n,) by how much each candidate is expected to raise the dominated area.

    Args:
        sizes: (n,) parameters, known.
        mean: (n,) of the accuracy.
        sd: (n,) of the accuracy, positive.
        stairs: the front so far.
    """
    total = np.zeros(len(sizes))
    steps = zip(stairs.edges[:-1], stairs.edges[1:], stairs.levels, strict=True)
    for left, right, level in steps:
        width = np.maximum(right - np.maximum(left, sizes), 0)
        total += width * expected_improvement(mean, sd, level)
    return total


def most_promising(sizes: Array, mean: Array, sd: Array, stairs: Staircase) -> int:
    """Return the index of the candidate with the greatest expected hypervolume improvement.

    No step lies lower than the one a candidate stands on, so that step's expected improvement
    times all the width to the right bounds the whole: most candidates need no more than that.
    When nothing promises anything, the best of the optimistic estimates is taken.
    """
    bound = np.maximum(stairs.edges[-1] - sizes, 0) * expected_improvement(
        mean, sd, stairs.level_at(sizes)
    )
    order = np.argsort(-bound, kind="stable")
    best, found = -1, 0.0
    for start in range(0, len(order), _SHORTLIST):
        rows = order[start : start + _SHORTLIST]
        if bound[rows[0]] <= found:
            break
        exact = expected_hypervolume_improvement(sizes[rows], mean[rows], sd[rows], stairs)
        if exact.max() > found:
            best, found = int(rows[exact.argmax()]), float(exact.max())
    return best if found > 0 else int(np.argmax(mean + sd))
