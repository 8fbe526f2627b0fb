"""What a report says in words and numbers; pure functions of a study."""

import math
import statistics
from dataclasses import dataclass

from pipeline.core.units import format_duration
from pipeline.runtime.records import State, front
from pipeline.runtime.report.view import Scored, StudyView


@dataclass(frozen=True)
class ClassRow:
    """The IoU of one class, in per cent; None where it is not defined or not known."""

    name: str
    champion: float | None
    paper: float | None

    @property
    def gain(self) -> float | None:
        """Return by how many points the champion is better."""
        if self.champion is None or self.paper is None:
            return None
        return self.champion - self.paper


def percent(scored: Scored) -> str:
    """Return a mean IoU for people, with deviation and number of seeds."""
    if len(scored.scores) == 1:
        return f"{scored.mean_iou * 100:.2f} % (one seed)"
    deviation = statistics.stdev(scored.scores) * 100
    return f"{scored.mean_iou * 100:.2f} ± {deviation:.2f} % ({len(scored.scores)} seeds)"


def comparison(champion: Scored, paper: Scored | None) -> str:
    """Return how the champion stands against M3N21, in one sentence."""
    if paper is None:
        return "No M3N21 was trained on this data by the same recipe, so nothing is compared."
    if champion.label == paper.label:
        return (
            "This is the paper's own M3N21: of what was tried within the budget, nothing beat it."
        )
    size = champion.num_params / paper.num_params - 1
    gain = (champion.mean_iou - paper.mean_iou) * 100
    return (
        f"The paper's M3N21 has {paper.num_params:,} parameters and scores {percent(paper)}: this "
        f"one is {abs(size) * 100:.0f} % {'smaller' if size < 0 else 'larger'} and "
        f"{abs(gain):.2f} points {'better' if gain > 0 else 'worse'}."
    )


def caveat(champion: Scored) -> str:
    """Return how far the figures may be trusted."""
    if len(champion.scores) > 1:
        return "Scored on val, the split that chose it."
    return (
        "One training of one seed, scored on val, the split that chose it: train it again with "
        "several seeds before you quote a figure."
    )


def class_rows(
    champion: Scored, paper: Scored | None, names: tuple[str, ...] | None
) -> list[ClassRow]:
    """Return the IoU of every class, in the order of the data set; None for names not known."""
    count = len(champion.class_iou)
    names = names or tuple(f"class {k}" for k in range(count))
    others = paper.class_iou if paper else (math.nan,) * count
    return [
        ClassRow(name, _percentage(ours), _percentage(theirs))
        for name, ours, theirs in zip(names, champion.class_iou, others, strict=True)
    ]


def spending(view: StudyView) -> list[tuple[str, str]]:
    """Return what the search spent, and what stopping and the budget gate saved, by name."""
    trials = view.trials
    counts = {state: sum(t.state is state for t in trials) for state in State}
    done = sum(len(trial.results) for trial in trials)
    saved = sum(
        trial.results[-1].epochs - len(trial.results)
        for trial in trials
        if trial.state is State.STOPPED and trial.results
    )
    busy_s = sum(r.train_s + r.val_s for trial in trials for r in trial.results)
    start = min((t.started_ms for t in trials), default=0)
    lasted_s = (max((t.latest_ms for t in trials), default=start) - start) / 1000
    rows = [
        ("trials", ", ".join(f"{n} {state}" for state, n in counts.items() if n)),
        ("networks on the front", str(len(front(trials)))),
        ("epochs trained", f"{done:,}, {format_duration(busy_s)} of training and validation"),
        ("from first to last", format_duration(lasted_s)),
        ("saved by stopping", _saved(saved, done)),
    ]
    if about := view.about:
        over = about.networks - about.networks_within_budget
        rows.append(
            (
                "saved by the budget gate",
                f"{over:,} of the space's {about.networks:,} networks are over budget: none of "
                "them was trained",
            )
        )
    return rows


def _saved(saved: int, done: int) -> str:
    if not saved:
        return "nothing: no trial was stopped"
    return f"{saved:,} epochs, {saved / (saved + done):.0%} of what training all out would take"


def provenance(view: StudyView) -> list[tuple[str, str]]:
    """Return on what and by what the study was made, by name."""
    settings = view.settings
    rows = [
        ("data", f"{view.dataset}, fingerprint {settings.get('fingerprint', 'unknown')}"),
        (
            "space",
            f"{settings.get('space')}, within {view.budget:,} parameters "
            f"{settings.get('budget_on', 'built')}",
        ),
        (
            "training",
            f"{settings.get('epochs')} epochs, batches of {settings.get('batch_size')}, "
            f"{settings.get('workers_per_trial')} worker, recipe {settings.get('recipe')}, "
            f"seed {settings.get('seed')}",
        ),
    ]
    if about := view.about:
        pictures = ", ".join(f"{n:,} {split}" for split, n in about.num_samples.items())
        height, width = about.image_size
        rows += [
            ("pictures", f"{pictures}, {height}x{width}"),
            ("search", f"sampler {about.sampler}, stopping {about.stopping}"),
            ("versions", ", ".join(f"{k} {v}" for k, v in about.versions.items())),
            ("machine", ", ".join(f"{k} {v}" for k, v in about.machine.items())),
        ]
    return rows


def _percentage(iou: float) -> float | None:
    return None if math.isnan(iou) else iou * 100
