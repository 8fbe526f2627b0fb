"""Groups of the options of `python -m pipeline.search`, and what they mean."""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.core.effort import Effort
from pipeline.core.errors import UsageError
from pipeline.core.peer import Peer
from pipeline.core.units import parse_duration

DEFAULT_TRIALS = 10
DEFAULT_SEEDS = 3
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_study_name(option: str, name: str | None) -> None:
    """Check that an option names a study, if it is given: files are called by that name.

    Raises:
        UsageError: it does not.
    """
    if name is not None and not _STUDY_NAME.fullmatch(name):
        raise UsageError(
            f"{option} {name!r} cannot name a study: use letters, digits, '.', '_' and '-', "
            "and begin with a letter or a digit"
        )


@dataclass(frozen=True)
class EffortOptions:
    """When the search ends: by whichever comes first. What runs by then is trained out."""

    trials: int | None = None
    """Trainings that the study is to hold in the end; 10 when no other limit is given."""
    time: str | None = None
    """Longest time for this call, such as 2h or 1h30m."""
    epochs_total: int | None = None
    """Epochs that the study is to hold in the end, all trials together."""
    patience: int | None = None
    """Trials in a row that do not raise the hypervolume."""

    def effort(self) -> Effort:
        """Return the limits.

        Raises:
            UsageError: one of them is below 1, or no duration.
        """
        for name in ("trials", "epochs_total", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        seconds = None if self.time is None else parse_duration(self.time)
        others = (seconds, self.epochs_total, self.patience)
        unlimited = self.trials is None and others == (None, None, None)
        return Effort(
            trials=DEFAULT_TRIALS if unlimited else self.trials,
            seconds=seconds,
            epochs=self.epochs_total,
            patience=self.patience,
        )


@dataclass(frozen=True)
class StrategyOptions:
    """Which networks are tried, and which of them to the end."""

    sampler: Literal["ehvi", "tpe", "nsga2", "gp", "random", "grid"] = "ehvi"
    """ehvi knows every size beforehand and models accuracy; grid takes all, smallest first; the
    others are Optuna's. None proposes a network over budget, or one twice."""
    stopping: Literal["front", "asha", "none"] = "front"
    """Which trials of three epochs or more end at a ninth or a third of them: front, those that
    will not reach the best network no larger; asha, those not among the first third."""
    floor: float = 0.0
    """Mean IoU in % that a network must exceed to count. With the budget it is the reference point
    of the hypervolume. At 0 every network counts."""
    warm_start: str | None = None
    """Name of another study on the same data, by the same recipe and epochs, whose networks inform
    the proposals."""

    def checked_floor(self) -> float:
        """Return the floor as a fraction.

        Raises:
            UsageError: it is no percentage below 100.
        """
        if not 0 <= self.floor < 100:
            raise UsageError(f"--floor must be 0 to below 100 (% mean IoU), got {self.floor}")
        return self.floor / 100


@dataclass(frozen=True)
class ConfirmOptions:
    """What is trained again when the search has ended, to see what its claims are worth."""

    confirm: int | None = None
    """Seeds with which the front as the model sees it, at most six networks, and CGNet as published
    are trained again from scratch; 3 when not said, but for generated streets without peers 0."""
    peers: str = ""
    """Networks trained beside them with the same seeds, with commas between them: deeplabv3, enet,
    espnet, fcn_dilation8 or icnet. They are on no front."""

    def checked_peers(self) -> tuple[Peer, ...]:
        """Return the peers.

        Raises:
            UsageError: there is no such peer, or no seed to train it with; less than no seed.
        """
        if self.confirm is not None and self.confirm < 0:
            raise UsageError(f"--confirm must be at least 0, got {self.confirm}")
        peers = tuple(Peer(name.strip()) for name in self.peers.split(",") if name.strip())
        if peers and self.confirm == 0:
            raise UsageError("--peers are trained with the seeds of --confirm: give it 1 or more")
        return peers

    def num_seeds(self, *, generated: bool) -> int:
        """Return how many seeds, on generated pictures or real ones."""
        if self.confirm is None:
            return 0 if generated and not self.peers else DEFAULT_SEEDS
        return self.confirm
