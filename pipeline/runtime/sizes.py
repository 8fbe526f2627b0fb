"""What the networks of a pool count as: their size as built, or what is left of it deployed."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import EpochResult
from pipeline.core.shrinkage import Shrinkage, fit_shrinkage
from pipeline.core.space import Pool
from pipeline.core.stopping import Curve, Prediction, Verdict
from pipeline.runtime.records import State, TrialRecord

REACH = 2  # a network of more than so many budgets is not tried, whatever is predicted


class Sizes:
    """Sizes by row of a pool; as built they are known, deployed only of what has been trained."""

    def __init__(self, pool: Pool, budget: int, *, deployed: bool) -> None:
        """Begin with what is known before any training: that nothing has died.

        Args:
            pool: the architectures that may be trained.
            budget: that their sizes are to fit.
            deployed: whether it is the deployed sizes that are to.
        """
        self.deployed = deployed
        self.shrinkage = Shrinkage()
        self.values = pool.num_params.astype(float)
        self._built = self.values
        self._budget = budget
        self._known: dict[int, int] = {}

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Return for each row whether it may be trained; as built all of a pool may."""
        return self.values <= self._budget if self.deployed else np.ones_like(self.values, bool)

    def has_room(self, tried: Iterable[int]) -> bool:
        """Return whether a row fits that has not been tried."""
        left = self.fits
        left[list(tried)] = False
        return bool(left.any())

    def learn(self, record: TrialRecord) -> None:
        """Take in what a trained network came to; sizes as built have nothing to learn."""
        if not self.deployed or not record.results[-1:] or not record.results[-1].is_last:
            return
        self._known[record.row] = record.deployed_parameters
        rows = np.array(sorted(self._known))
        sizes = np.array([self._known[row] for row in sorted(self._known)], dtype=float)
        self.shrinkage = fit_shrinkage(self._built[rows], sizes)
        self.values = self.shrinkage.deployed(self._built)
        self.values[rows] = sizes

    def sized(self, record: TrialRecord) -> TrialRecord:
        """Return a trial with the size that counts, once it is known."""
        counts = self.deployed and record.state is State.COMPLETE
        return replace(record, num_params=record.deployed_parameters) if counts else record

    def curve(self, record: TrialRecord) -> Curve:
        """Return a trial's curve, at its size as built, which is known of all of them."""
        return replace(record.curve, num_params=int(self._built[record.row]))

    def verdict(self, result: EpochResult) -> Verdict | None:
        """Return what keeps a trained network off the front: it is over budget after all."""
        size = result.deployed_parameters
        if not self.deployed or size is None or size <= self._budget:
            return None
        reason = f"{size:,} parameters deployed, over the budget of {self._budget:,}"
        return Verdict(stop=True, reason=reason, prediction=Prediction(result.mean_iou, 0.0))

    @property
    def report(self) -> str | None:
        """Return how good the predictions are, for people; None where there is nothing to say."""
        if self.shrinkage.error is None:
            return None
        return (
            f"deployed sizes were predicted from {len(self._known)} trained networks, "
            f"{self.shrinkage.error * 100:.1f} % off (root mean square, each left out in turn)"
        )
