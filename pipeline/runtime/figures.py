"""The front as a picture for a page (PNG) and for a browser (HTML)."""

import io
from dataclasses import dataclass

import plotly.graph_objects as go
from matplotlib.figure import Figure

from pipeline.core.architecture import Architecture
from pipeline.runtime.study import State, TrialRecord, front

_FRONT, _PALE, _PAPER, _CHAMPION = "#0b6e99", "#b8c4cc", "#c2571a", "#127a3d"


@dataclass(frozen=True)
class _Series:
    """Trials that are drawn alike."""

    name: str
    trials: list[TrialRecord]
    colour: str
    symbol: str  # matplotlib's
    browser_symbol: str  # plotly's
    size: int
    joined: bool = False


def front_png(trials: list[TrialRecord], budget: int, title: str) -> bytes:
    """Return the front of mean IoU against size as a PNG of 1200x750 pixels."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for series in _series(trials):
        axes.plot(
            [trial.num_params / 1e3 for trial in series.trials],
            [trial.mean_iou * 100 for trial in series.trials],
            label=series.name,
            color=series.colour,
            marker=series.symbol,
            markersize=series.size * 0.7,
            linestyle="-" if series.joined else "none",
            drawstyle="steps-post",
        )
    axes.axvline(budget / 1e3, color="#555555", linestyle="--", linewidth=1, label="budget")
    axes.set(title=title, xlabel="parameters (thousands)", ylabel="mean IoU on val (%)")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def front_html(trials: list[TrialRecord], budget: int, title: str) -> str:
    """Return the same as a page of its own; hovering names the architecture."""
    figure = go.Figure()
    for series in _series(trials):
        figure.add_scatter(
            x=[trial.num_params for trial in series.trials],
            y=[trial.mean_iou * 100 for trial in series.trials],
            text=[f"{trial.architecture.label} (trial {trial.number})" for trial in series.trials],
            name=series.name,
            mode="lines+markers" if series.joined else "markers",
            line={"shape": "hv"},
            marker={
                "color": series.colour,
                "symbol": series.browser_symbol,
                "size": series.size * 1.4,
            },
            hovertemplate="%{text}<br>%{x:,} parameters<br>%{y:.2f} % mean IoU<extra></extra>",
        )
    figure.add_vline(x=budget, line_dash="dash", annotation_text=f"budget {budget:,}")
    figure.update_layout(
        title=title,
        xaxis_title="parameters",
        yaxis_title="mean IoU on val (%)",
        template="plotly_white",
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _series(trials: list[TrialRecord]) -> list[_Series]:
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    best = front(trials)
    numbers = {trial.number for trial in best}
    dominated = [trial for trial in complete if trial.number not in numbers]
    paper = [
        t for t in complete if t.architecture.id == Architecture(t.architecture.num_classes).id
    ]
    series = [
        _Series("dominated", dominated, _PALE, "o", "circle", 8),
        _Series("front", best, _FRONT, "o", "circle", 9, joined=True),
        _Series("M3N21 (the paper's)", paper, _PAPER, "D", "diamond", 11),
        _Series("champion", best[-1:], _CHAMPION, "*", "star", 17),
    ]
    return [one for one in series if one.trials]
