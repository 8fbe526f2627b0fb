"""What a search would do and cost, told before anything is trained."""

from dataclasses import dataclass

from pipeline.core.config import TrainConfig
from pipeline.core.cost import count_macs
from pipeline.core.effort import Effort
from pipeline.core.space import Pool
from pipeline.core.stopping import rungs
from pipeline.core.units import format_count, format_duration
from pipeline.runtime.members import MAX_MEMBERS
from pipeline.runtime.records import State
from pipeline.runtime.study import Study

_PASSES = 3  # a training step is a forward pass and a backward one of twice its cost


@dataclass(frozen=True)
class Images:
    """What an epoch passes over: how many pictures of what size."""

    count: int
    height: int
    width: int


def preview(
    study: Study, everything: Pool, images: Images, training: TrainConfig, effort: Effort
) -> str:
    """Return the space, the plan and its estimated cost as lines of text.

    Args:
        study: open, with what it already holds.
        everything: the space before the budget.
        images: of the train split.
        training: of every trial.
        effort: when the search ends.
    """
    pool = study.pool
    lines = [
        f"space {pool.space.name}: {len(everything):,} networks of {pool.num_classes} classes, "
        f"{study.sizes.fits.sum():,} fit {study.budget:,} parameters",
        f"  smallest {_network(pool, 0, images)}",
        f"  largest  {_network(pool, len(pool) - 1, images)}",
        _plan(study, training, effort),
        f"reference of the hypervolume: {study.budget:,} parameters, {study.floor * 100:g} % mIoU",
    ]
    return "\n".join([*lines, *_cost(study, images, training, effort)])


def preview_confirmation(num_seeds: int, num_peers: int, epochs: int) -> str:
    """Return what is trained after the search, and the most that it can cost, as a line."""
    if not num_seeds:
        return "then: nothing is trained again"
    trainings = num_seeds * (MAX_MEMBERS + 1 + num_peers)
    peers = f", {num_peers} peers" if num_peers else ""
    return (
        f"then: at most {MAX_MEMBERS} networks of the front, M3N21{peers} are trained again with "
        f"{num_seeds} seeds: at most {trainings * epochs} epochs more"
    )


def _network(pool: Pool, row: int, images: Images) -> str:
    architecture = pool.architecture(row)
    macs = count_macs(architecture, images.height, images.width)
    return f"{pool.num_params[row]:,} parameters, {format_count(macs)} MACs: {architecture.label}"


def _plan(study: Study, training: TrainConfig, effort: Effort) -> str:
    ends = [
        f"{effort.trials} trials" if effort.trials else "",
        f"{effort.epochs} epochs in all" if effort.epochs else "",
        format_duration(effort.seconds) if effort.seconds else "",
        f"{effort.patience} trials without a rise" if effort.patience else "",
    ]
    judged = ", ".join(map(str, rungs(training.epochs))) or "none"
    return (
        f"plan: until {' or '.join(end for end in ends if end)}; "
        f"{training.epochs} epochs a trial; sampler {study.strategy.sampler}, stopping "
        f"{study.strategy.stopping} after epochs {judged}"
    )


def _cost(study: Study, images: Images, training: TrainConfig, effort: Effort) -> list[str]:
    """Return the most that the plan's count of trials or epochs can cost."""
    limits = (
        [] if effort.trials is None else [min(effort.trials, len(study.pool)) * training.epochs]
    )
    limits += [] if effort.epochs is None else [effort.epochs]
    if not limits:
        return ["cost: as long as it takes; the plan counts neither trials nor epochs"]
    epochs = max(min(limits) - study.progress.epochs, 0)
    middle = study.pool.architecture(len(study.pool) // 2)
    macs = _PASSES * count_macs(middle, images.height, images.width) * images.count
    line = (
        f"cost: at most {epochs} epochs more, about {format_count(macs * epochs)} MACs of training"
    )
    seen = [
        result.train_s + result.val_s
        for trial in study.trials()
        if trial.state is not State.FAILED
        for result in trial.results
    ]
    if not seen:
        return [f"{line}; no trial yet to tell the time from"]
    mean = sum(seen) / len(seen)
    return [f"{line}, {format_duration(epochs * mean)} one trial at a time ({mean:.1f} s an epoch)"]
