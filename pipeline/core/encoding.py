"""Architectures as points of the unit cube, so that near points train to similar accuracy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.core.space import Pool, Value, Variants

_LOG_SCALED = ("num_blocks_2", "num_blocks_3", "reduction_2", "reduction_3")
_PATTERNS = ("dilations_2", "dilations_3")


def encode(pool: Pool) -> NDArray[np.float64]:
    """Return a point (n, features) in the unit cube for every row of the pool.

    Depths and reductions go by their logarithm. A dilation pattern is the mean and the spread of
    its rates' logarithms, widths the mean of theirs. What has no order gets a feature a value.
    """
    columns: list[NDArray[np.float64]] = []
    for j, (name, values) in enumerate(pool.space.choices.items()):
        codes = _codes(name, values)
        span = codes.max(axis=0) - codes.min(axis=0)
        scaled = (codes - codes.min(axis=0)) / np.where(span > 0, span, 1)
        columns.append(scaled[:, span > 0][pool.picks[:, j]])
    return np.concatenate(columns, axis=1)


def _codes(name: str, values: tuple[Value, ...] | Variants) -> NDArray[np.float64]:
    """Return the (values, features) of one choice, before they are scaled."""
    if isinstance(values, Mapping):
        codes = np.eye(len(values))
    elif name in _LOG_SCALED:
        codes = np.log([[value] for value in values])
    elif name in _PATTERNS:
        logs = [np.log(value) for value in values]
        codes = np.array([[log.mean(), log.std()] for log in logs])
    elif name == "widths":
        codes = np.array([[np.log(value).mean()] for value in values])
    elif len(values) == 2:
        codes = np.array([[0.0], [1.0]])
    else:
        codes = np.eye(len(values))
    if len(np.unique(codes, axis=0)) < len(values):  # two values fall on one point: tell them apart
        codes = np.concatenate((codes, np.eye(len(values))), axis=1)
    return np.asarray(codes, dtype=float)
