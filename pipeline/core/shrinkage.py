"""How much of a network training will leave alive, learned from networks that are trained."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RIDGE = 0.1  # holds the slope at 0 until sizes differ by more than their shares scatter


@dataclass(frozen=True)
class Shrinkage:
    """The share of a network's parameters that is left, a straight line in the logarithms.

    Attributes:
        level: logarithm of the share at ``centre``.
        slope: of it over the logarithm of the built size.
        centre: logarithm of a built size.
        error: root mean square of the leave-one-out errors, as a share of the size; None of fewer
            than two networks.
    """

    level: float = 0.0
    slope: float = 0.0
    centre: float = 0.0
    error: float | None = None

    def deployed(self, built: Array) -> Array:
        """Return the sizes that networks of these built sizes will have; none grows."""
        share = np.exp(np.minimum(self.level + self.slope * (np.log(built) - self.centre), 0.0))
        return np.asarray(built * share)


def fit_shrinkage(built: Array, deployed: Array) -> Shrinkage:
    """Return what networks (n,) of known sizes teach; without any, that nothing dies."""
    if not len(built):
        return Shrinkage()
    logs, shares = np.log(built), np.log(deployed / built)
    x, y = logs - logs.mean(), shares - shares.mean()
    spread = float(x @ x) + _RIDGE
    slope = float(x @ y) / spread
    error = None
    if len(built) > 1:
        left_out = (y - slope * x) / (1 - 1 / len(x) - x**2 / spread)
        error = float(np.expm1(np.sqrt((left_out**2).mean())))
    return Shrinkage(float(shares.mean()), slope, float(logs.mean()), error)
