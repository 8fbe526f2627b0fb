"""When a search has done enough, and how far it is."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.front import hypervolume


@dataclass(frozen=True)
class Effort:
    """Limits of a study; whichever is reached first ends it. None is no limit.

    Attributes:
        trials: that have ended, however they did.
        seconds: since the search was started, this time.
        epochs: trained in all trials together.
        patience: trials ended since the front's hypervolume last rose.
    """

    trials: int | None = None
    seconds: float | None = None
    epochs: int | None = None
    patience: int | None = None

    def spent(self, progress: "Progress", seconds: float, running: int = 0) -> str | None:
        """Return which limit has been reached, for people, or None.

        Args:
            progress: of the study.
            seconds: since the search was started.
            running: trials that will yet end; 0 to ask whether the search is over.
        """
        if self.trials is not None and progress.trials + running >= self.trials:
            return f"{self.trials} trials"
        if self.epochs is not None and progress.epochs >= self.epochs:
            return f"{self.epochs} epochs"
        if self.patience is not None and progress.since_rise >= self.patience:
            return f"no larger hypervolume in {self.patience} trials"
        if self.seconds is not None and seconds >= self.seconds:
            return "the time"
        return None


@dataclass
class Progress:
    """How far a study is; grows with every epoch and every trial that ends."""

    reference: tuple[float, float]  # size and negative accuracy
    trials: int = 0
    epochs: int = 0
    since_rise: int = 0
    hypervolume: float = 0.0
    _front: list[tuple[float, float]] = field(default_factory=list)

    def ended(self, point: tuple[float, float] | None) -> None:
        """Count a trial that ended, with its size and negative accuracy if it was trained out."""
        self.trials += 1
        self.since_rise += 1
        if point is None:
            return
        volume = hypervolume([*self._front, point], self.reference)
        if volume > self.hypervolume:
            self._front = [*_undominated(self._front, point), point]
            self.hypervolume, self.since_rise = volume, 0


def _undominated(
    front: Iterable[tuple[float, float]], point: tuple[float, float]
) -> list[tuple[float, float]]:
    return [p for p in front if p[0] < point[0] or p[1] < point[1]]
