"""How much each choice of an architecture decides accuracy, among networks of equal size."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_RIDGE = 0.1  # of each indicator column: keeps values that few networks have from ruling the fit
_MIN_SPARE = 3  # networks beyond the columns of the fit, below which nothing is said


def importance(
    choices: Mapping[str, Sequence[Hashable]], num_params: ArrayLike, mean_iou: ArrayLike
) -> dict[str, float]:
    """Return for each choice how much of accuracy, at equal size, is lost to a fit without it.

    Accuracy is fitted by a quadratic in the logarithm of the size and an indicator for each value
    of each choice. A choice's importance is by how much the squared leave-one-out error grows
    once its indicators are left out, as a share of that of the size alone. 0 is of no use; 1 means
    that without this choice nothing beyond size can be told. Shares need not add up to 1.

    Args:
        choices: for each choice the value that each of n networks has; a choice that is the same in
            all of them is left out of the answer.
        num_params: (n,) sizes.
        mean_iou: (n,) accuracies of fully trained networks.

    Returns:
        Importances, greatest first; empty while there are too few networks to tell.
    """
    accuracy = np.asarray(mean_iou, dtype=float)
    columns = {name: _indicators(v) for name, v in choices.items() if len(set(v)) > 1}
    if not columns:
        return {}
    size = _size_columns(np.asarray(num_params, dtype=float))
    width = size.shape[1] + sum(part.shape[1] - 1 for part in columns.values())
    if len(accuracy) < width + _MIN_SPARE:
        return {}
    alone, whole = _error(size, [], accuracy), _error(size, [*columns.values()], accuracy)
    if alone < 1e-18:
        return dict.fromkeys(columns, 0.0)
    lost = {
        name: (_error(size, [v for k, v in columns.items() if k != name], accuracy) - whole) / alone
        for name in columns
    }
    return dict(sorted(((k, max(v, 0.0)) for k, v in lost.items()), key=lambda kv: -kv[1]))


def _size_columns(num_params: Array) -> Array:
    log = np.log(num_params)
    log = (log - log.mean()) / (log.std() or 1.0)
    columns = [np.ones_like(log), log, log**2]
    return np.stack(columns[: 1 if not log.any() else 3], axis=1)


def _indicators(values: Sequence[Hashable]) -> Array:
    kinds = list(dict.fromkeys(values))
    columns = np.array([[value == kind for kind in kinds] for value in values], dtype=float)
    return np.asarray(columns - columns.mean(axis=0), dtype=np.float64)


def _error(size: Array, indicators: list[Array], accuracy: Array) -> float:
    """Return the mean squared leave-one-out error of the ridge regression; size is not shrunk."""
    X = np.concatenate([size, *indicators], axis=1)
    penalty = np.diag([1e-9] * size.shape[1] + [_RIDGE] * (X.shape[1] - size.shape[1]))
    hat = X @ np.linalg.solve(X.T @ X + penalty, X.T)
    left_out = (accuracy - hat @ accuracy) / np.maximum(1 - np.diag(hat), 1e-9)
    return float((left_out**2).mean())
