"""The Pareto front of two objectives and the area it dominates. Both objectives are minimised."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(points: ArrayLike) -> list[int]:
    """Return the indices of the non-dominated points, first objective rising.

    Args:
        points: (n, 2) values, both minimised: negate what is maximised before the call. Of equal
            points the first is kept.
    """
    values = _as_points(points)
    order = np.lexsort((np.arange(len(values)), values[:, 1], values[:, 0]))
    front: list[int] = []
    best = np.inf
    for index in order:
        if values[index, 1] < best:
            best = values[index, 1]
            front.append(int(index))
    return front


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """Return the area that ``points`` dominate, bounded by ``reference``.

    Args:
        points: (n, 2) values, both minimised; dominated, repeated and no points are allowed. What
            lies beyond the reference in either objective adds nothing.
        reference: the worst value of interest of each objective.

    Source:
        Zitzler and Thiele 1998; for two objectives the sum of the staircase's rectangles.
    """
    values = _as_points(points)
    values = values[(values < np.asarray(reference, dtype=float)).all(axis=1)]
    front = values[pareto_front(values)]
    ceilings = np.concatenate(([reference[1]], front[:-1, 1]))
    return float(np.sum((reference[0] - front[:, 0]) * (ceilings - front[:, 1])))


def thinned_front(points: ArrayLike, reference: Sequence[float], most: int) -> list[int]:
    """Return the indices of at most ``most`` points of the front, first objective rising.

    While there are more, the one whose loss costs the least area is taken off. The last, best in
    the second objective, stays whatever it adds.

    Args:
        points: (n, 2) values, both minimised.
        reference: the worst value of interest of each objective.
        most: points to return, at least 1.
    """
    values, kept = _as_points(points), pareto_front(points)
    while len(kept) > most:
        left = [hypervolume(values[kept[:i] + kept[i + 1 :]], reference) for i in range(len(kept))]
        del kept[int(np.argmax(left[:-1]))]
    return kept


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, dtype=float).reshape(-1, 2)
