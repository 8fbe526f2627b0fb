"""All plots of a study on one page, which holds plotly.js once and asks the network for nothing."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pipeline.runtime.figures.choices import choice_importance, choices_plot, importance_plot
from pipeline.runtime.figures.front import front_plot
from pipeline.runtime.figures.progress import curves_plot, history, hypervolume_plot
from pipeline.runtime.figures.series import INK, Rival, SeedScores, front_series
from pipeline.runtime.records import State, TrialRecord, any_shrank, as_deployed

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_STYLE = (
    f"body{{font:16px/1.5 {_FONT};color:{INK};background:#fff;max-width:1000px;"
    "margin:0 auto;padding:1rem}h1{font-size:1.3rem;font-weight:600}"
    "h2{font-size:1.05rem;font-weight:600;margin:2.2rem 0 0}p{margin:.2rem 0 0}"
)
_TOO_FEW = "Too few networks were trained to the end to tell."


def figures_page(
    trials: list[TrialRecord],
    budget: int,
    floor: float,
    title: str,
    *,
    seeds: SeedScores | None = None,
    rivals: Sequence[Rival] = (),
) -> str:
    """Return the page.

    Args:
        trials: of the study.
        budget: most parameters a trial may have.
        floor: of the hypervolume, mean IoU 0 to 1.
        title: of the page.
        seeds: see ``front_series``.
        rivals: see ``front_series``.
    """
    found = choice_importance(trials)
    has_complete = any(trial.state is State.COMPLETE for trial in trials)
    sections = [
        ("Front", "", front_plot(front_series(trials, seeds, rivals), budget)),
        *_deployed(trials, budget, seeds, rivals),
        (
            "Hypervolume",
            f"The area that the front dominates within {budget:,} parameters and above "
            f"{floor * 100:g} % mean IoU, as a share of {budget:,} parameters x 100 %.",
            hypervolume_plot(history(trials, budget, floor)),
        ),
        (
            "Learning curves",
            "Trials are judged at the dotted rungs; a cross is where one was stopped.",
            curves_plot(trials),
        ),
        (
            "Choices",
            "A line is a network. Drag along an axis to keep some, drag an axis to move it.",
            choices_plot(trials) if has_complete else None,
        ),
        (
            "Importance",
            "By how much mean IoU is harder to foretell, at equal size, without knowing the choice."
            if found
            else _TOO_FEW,
            importance_plot(found) if found else None,
        ),
    ]
    body = "\n".join(_section(*section) for section in sections)
    heading = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><h1>{heading}</h1>{body}</body></html>"
    )


def _deployed(
    trials: list[TrialRecord], budget: int, seeds: SeedScores | None, rivals: Sequence[Rival]
) -> list[tuple[str, str, go.Figure]]:
    """Return the front by the other size, if that is another."""
    if not any_shrank(trials):
        return []
    text = "By the parameters that are left when what training killed is taken out."
    plot = front_plot(front_series(as_deployed(trials), seeds, rivals), budget)
    return [("Front as deployed", text, plot)]


def _section(name: str, text: str, figure: go.Figure | None) -> str:
    drawn = ""
    if figure is not None:
        figure.update_layout(
            template="plotly_white",
            font={"family": _FONT, "color": INK, "size": 13},
            margin={"l": 60, "r": 30, "t": 50, "b": 50},
            height=420,
            legend={"orientation": "h", "y": 1.12, "x": 0},
        )
        options = {"displaylogo": False, "responsive": True}
        anchor = name.replace(" ", "-").lower()
        drawn = figure.to_html(
            full_html=False, include_plotlyjs=False, config=options, div_id=anchor
        )
    return f"<section><h2>{name}</h2><p>{text}</p>{drawn}</section>"
