"""Which trials end before their last epoch: judged at rungs, by their place on the front.

Every rule is a function of the curves there are. A verdict is kept with the epoch it was made at,
so that a search that goes on after a crash does not judge again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ETA = 3  # a rung is a third of the way to the next
MIN_FINISHED = 8  # curves from which the end of another can be told
_RIDGE = 1.0
_HOPE = 1.5  # standard deviations; with one a real table lost a tenth of its front
_MAX_PEERS = 256  # the latest; older ones say little more, and judging costs their square


@dataclass(frozen=True)
class Curve:
    """The accuracies of a trial by epoch, as far as it has come."""

    num_params: int
    values: tuple[float, ...]
    complete: bool = False


@dataclass(frozen=True)
class Prediction:
    """Of a trial's accuracy after its last epoch."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Verdict:
    """What a rung said of a trial: whether it ends here, why, and how it would have ended."""

    stop: bool
    reason: str = ""
    prediction: Prediction | None = None


Rule = Callable[[Curve, Sequence[Curve]], Verdict]


def rungs(epochs: int) -> tuple[int, ...]:
    """Return after which epochs a trial is judged: a ninth and a third of all, if that is one."""
    return tuple(sorted({epochs // ETA**2, epochs // ETA} - {0}))


def predict_final(curve: Curve, finished: Sequence[Curve]) -> Prediction | None:
    """Return how the curve will end, by ridge regression on those that did; None if too few did.

    What is regressed is the gain from now to the end, on the shape so far and the size. The
    variance is that of the regression's leave-one-out errors, widened where the curve is unusual.
    """
    if len(finished) < MIN_FINISHED:
        return None
    epoch, finished = len(curve.values), finished[-_MAX_PEERS:]
    inputs = np.array([_shape(one, epoch) for one in finished])
    gains = np.array([one.values[-1] - one.values[epoch - 1] for one in finished])
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    X = (inputs - centre) / spread
    x = (np.array(_shape(curve, epoch)) - centre) / spread
    inverse = np.linalg.inv(X.T @ X + _RIDGE * np.eye(X.shape[1]))
    slope = inverse @ X.T @ (gains - gains.mean())
    leverage = np.einsum("ij,jk,ik->i", X, inverse, X) + 1 / len(X)
    errors = (gains - gains.mean() - X @ slope) / (1 - leverage)
    variance = float((errors**2).mean() * (1 + x @ inverse @ x + 1 / len(X)))
    return Prediction(float(curve.values[-1] + gains.mean() + x @ slope), variance)


def _shape(curve: Curve, epoch: int) -> list[float]:
    seen = np.array(curve.values[:epoch])
    late = seen[-max(epoch // ETA, 1) :].mean()
    return [seen[-1], late, late - seen[: max(epoch // ETA, 1)].mean(), np.log(curve.num_params)]


def front_rule(curve: Curve, others: Sequence[Curve]) -> Verdict:
    """Stop what, well above what is expected of it, would still be beaten by a smaller network."""
    finished = [one for one in others if one.complete]
    prediction = predict_final(curve, finished)
    rivals = [one.values[-1] for one in finished if one.num_params <= curve.num_params]
    if prediction is None or not rivals:
        return Verdict(stop=False, prediction=prediction)
    hope = prediction.mean + _HOPE * prediction.variance**0.5
    if hope >= max(rivals):
        return Verdict(stop=False, prediction=prediction)
    reason = (
        f"would reach {hope * 100:.1f} % mIoU at best, a network no larger has "
        f"{max(rivals) * 100:.1f} %"
    )
    return Verdict(stop=True, reason=reason, prediction=prediction)


def asha_rule(curve: Curve, others: Sequence[Curve]) -> Verdict:
    """Stop what is not among the first third at its rung, in size and accuracy at once."""
    epoch = len(curve.values)
    peers = [one for one in others if len(one.values) >= epoch][-_MAX_PEERS:]
    points = [(one.num_params, -one.values[epoch - 1]) for one in (*peers, curve)]
    place = int(priorities(np.array(points, dtype=float))[-1])
    prediction = predict_final(curve, [one for one in others if one.complete])
    if len(points) < ETA or place < -(-len(points) // ETA):
        return Verdict(stop=False, prediction=prediction)
    reason = f"place {place + 1} of {len(points)} after epoch {epoch}"
    return Verdict(stop=True, reason=reason, prediction=prediction)


def no_rule(curve: Curve, others: Sequence[Curve]) -> Verdict:
    """Stop nothing; the reason says what the front rule would have stopped."""
    verdict = front_rule(curve, others)
    reason = f"not stopped, as asked: {verdict.reason}" if verdict.stop else ""
    return Verdict(stop=False, reason=reason, prediction=verdict.prediction)


RULES: dict[str, Rule] = {"front": front_rule, "asha": asha_rule, "none": no_rule}


def priorities(points: Array) -> NDArray[np.int64]:
    """Return the place (n,) of every point, 0 first: by its front, then spread over the front.

    Args:
        points: (n, 2) values, both minimised.

    Source:
        Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving: non-dominated
        sorting, ties by an epsilon-net. The place of a point is returned, not the order of points.
    """
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    layer = non_dominated_layers(points)
    order: list[int] = []
    for number in range(layer.max() + 1):
        members = np.flatnonzero(layer == number)
        order += members[epsilon_net(scaled[members])].tolist()
    places = np.empty(len(points), dtype=np.int64)
    places[order] = np.arange(len(points))
    return places


def non_dominated_layers(points: Array) -> NDArray[np.int64]:
    """Return for each point (n, 2) how many fronts must be taken away before it is on one."""
    layer = np.full(len(points), -1, dtype=np.int64)
    number = 0
    while (left := np.flatnonzero(layer < 0)).size:
        some = points[left]
        not_worse = (some[:, None] <= some[None]).all(axis=2)
        better = (some[:, None] < some[None]).any(axis=2)
        layer[left[~(not_worse & better).any(axis=0)]] = number
        number += 1
    return layer


def epsilon_net(points: Array) -> list[int]:
    """Return the points' indices, each the farthest from all before it; the most accurate first."""
    first = int(np.lexsort((points[:, 0], points[:, 1]))[0])
    order, distance = [first], np.full(len(points), np.inf)
    while len(order) < len(points):
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
        distance[order] = -1.0
        order.append(int(distance.argmax()))
    return order
