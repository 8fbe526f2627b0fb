"""How far a search came: the hypervolume by trials and by time, and every learning curve."""

from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.core.effort import Progress
from pipeline.core.stopping import rungs
from pipeline.runtime.figures.series import BLUE, GREEN, INK, ORANGE, PALE
from pipeline.runtime.records import State, TrialRecord, front

_LOOKS = {State.COMPLETE: PALE, State.STOPPED: ORANGE, State.RUNNING: GREEN, State.FAILED: INK}


@dataclass(frozen=True)
class Moment:
    """The study when a trial had ended."""

    trials: int
    hours: float  # since the first trial was started
    hypervolume: float  # 0 to 1, of budget x 100 % mean IoU


def history(trials: list[TrialRecord], budget: int, floor: float) -> list[Moment]:
    """Return how the hypervolume grew, a moment for each trial that has ended, in that order."""
    start = min((trial.started_ms for trial in trials), default=0)
    progress = Progress((budget + 1, -floor))
    moments = []
    ended = [trial for trial in trials if trial.state is not State.RUNNING]
    for trial in sorted(ended, key=lambda t: (t.latest_ms, t.number)):
        done = trial.state is State.COMPLETE
        progress.ended((trial.num_params, -trial.mean_iou) if done else None)
        hours = (trial.latest_ms - start) / 3_600_000
        moments.append(Moment(progress.trials, hours, progress.hypervolume / budget))
    return moments


def hypervolume_plot(moments: list[Moment]) -> go.Figure:
    """Return the hypervolume by trials and by hours, side by side."""
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, x in enumerate(([m.trials for m in moments], [m.hours for m in moments]), start=1):
        figure.add_scatter(
            x=x,
            y=[moment.hypervolume for moment in moments],
            mode="lines+markers",
            line={"shape": "hv", "color": BLUE},
            marker={"size": 5},
            showlegend=False,
            hovertemplate="%{y:.4f}<extra></extra>",
            col=column,
            row=1,
        )
    figure.update_xaxes(title_text="trials ended", col=1)
    figure.update_xaxes(title_text="hours since the first trial", col=2)
    figure.update_yaxes(title_text="hypervolume", col=1)
    return figure


def curves_plot(trials: list[TrialRecord]) -> go.Figure:
    """Return every learning curve, those of the front in front, with the rungs marked."""
    best = {trial.number for trial in front(trials)}
    figure, named = go.Figure(), set[str]()
    for trial in sorted(trials, key=lambda t: (t.number in best, t.state is State.STOPPED)):
        if not trial.results:
            continue
        name = "on the front" if trial.number in best else trial.state.value
        stopped = trial.state is State.STOPPED
        figure.add_scatter(
            x=[result.epoch for result in trial.results],
            y=[result.mean_iou * 100 for result in trial.results],
            name=name,
            legendgroup=name,
            showlegend=name not in named,
            mode="lines+markers",
            line={
                "color": BLUE if trial.number in best else _LOOKS[trial.state],
                "width": 2 if trial.number in best else 1.2,
            },
            marker={"size": [0] * (len(trial.results) - 1) + [8 if stopped else 5]}
            | {"symbol": "x" if stopped else "circle", "opacity": 1},
            text=[_about(trial)] * len(trial.results),
            hovertemplate="%{text}<br>epoch %{x}: %{y:.2f} %<extra></extra>",
        )
        named.add(name)
    epochs = max((trial.results[-1].epochs for trial in trials if trial.results), default=0)
    for rung in rungs(epochs):
        figure.add_vline(x=rung, line_dash="dot", line_color=INK, annotation_text="rung")
    figure.update_layout(xaxis_title="epoch", yaxis_title="mean IoU on val (%)")
    return figure


def _about(trial: TrialRecord) -> str:
    text = f"{trial.architecture.label} (trial {trial.number}), {trial.num_params:,} parameters"
    return f"{text}<br>{trial.judgement}" if trial.judgement else text
