"""What is drawn of a study, whoever draws it: the points of the front and their looks.

Colours are Okabe and Ito's, which people of every colour vision can tell apart; no two series are
told by colour alone.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.architecture import Architecture
from pipeline.runtime.records import State, TrialRecord, front

BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
PALE, INK = "#b4bcc2", "#4a5560"

SeedScores = Mapping[str, Sequence[float]]  # architecture id -> mean IoU on val of each seed


@dataclass(frozen=True)
class Rival:
    """A network beside the study's own, trained on the same data for as long."""

    label: str
    num_params: int
    mean_iou: float


@dataclass(frozen=True)
class Point:
    """A network on the plane of size and accuracy, accuracy in per cent.

    ``spread`` is the standard deviation over ``seeds`` trainings; 0 where there is one.
    """

    num_params: int
    mean_iou: float
    text: str
    spread: float = 0.0
    seeds: int = 1


@dataclass(frozen=True)
class Series:
    """Points that are drawn alike."""

    name: str
    points: tuple[Point, ...]
    colour: str
    symbol: str  # plotly's name for it
    size: int
    joined: bool = False
    named: bool = False  # whether each point has its text beside it


def is_paper(architecture: Architecture) -> bool:
    """Return whether this is the network of the paper, M3N21."""
    return architecture.id == Architecture(architecture.num_classes).id


def front_series(
    trials: list[TrialRecord], seeds: SeedScores | None = None, rivals: Sequence[Rival] = ()
) -> list[Series]:
    """Return what a picture of the front holds, in drawing order.

    Args:
        trials: of the study.
        seeds: scores of the networks that were trained again; these stand at their mean.
        rivals: networks to name beside them.
    """
    best = front(trials)
    numbers = {trial.number for trial in best}
    complete = [trial for trial in trials if trial.state is State.COMPLETE]

    def points(some: list[TrialRecord]) -> tuple[Point, ...]:
        return tuple(_point(trial, (seeds or {}).get(trial.architecture.id, ())) for trial in some)

    dominated = [trial for trial in complete if trial.number not in numbers]
    paper = [trial for trial in complete if is_paper(trial.architecture)]
    beside = tuple(Point(r.num_params, r.mean_iou * 100, r.label) for r in rivals)
    series = [
        Series("dominated", points(dominated), PALE, "circle", 8),
        Series("front", points(best), BLUE, "circle", 9, joined=True),
        Series("other networks", beside, PURPLE, "square", 9, named=True),
        Series("M3N21 (the paper's)", points(paper), ORANGE, "diamond", 13),
        Series("champion", points(best[-1:]), GREEN, "star", 13),
    ]
    return [one for one in series if one.points]


def _point(trial: TrialRecord, scores: Sequence[float]) -> Point:
    mean_iou = statistics.fmean(scores) if scores else trial.mean_iou
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return Point(
        num_params=trial.num_params,
        mean_iou=mean_iou * 100,
        text=f"{trial.architecture.label} (trial {trial.number})",
        spread=spread * 100,
        seeds=max(len(scores), 1),
    )
