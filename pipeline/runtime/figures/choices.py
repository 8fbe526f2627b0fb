"""Which choices the networks of a study made, and which of them mattered."""

from collections.abc import Mapping

import plotly.graph_objects as go

from pipeline.core.importance import importance
from pipeline.runtime.figures.series import BLUE
from pipeline.runtime.records import State, TrialRecord

Choices = Mapping[str, list[str]]


def varied_choices(trials: list[TrialRecord]) -> Choices:
    """Return for each field in which the trials' architectures differ the value of every trial."""
    rows = [trial.architecture.to_dict() for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_label(row.get(name, "as in the paper")) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def choice_importance(trials: list[TrialRecord]) -> dict[str, float]:
    """Return the importance of each choice among the complete trials; empty if there are few."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    return importance(
        varied_choices(complete),
        [trial.num_params for trial in complete],
        [trial.mean_iou for trial in complete],
    )


def choices_plot(trials: list[TrialRecord]) -> go.Figure:
    """Return parallel coordinates of the complete trials, a line each, coloured by mean IoU."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    scores = [trial.mean_iou * 100 for trial in complete]
    dimensions = [_dimension(name, v) for name, v in varied_choices(complete).items()]
    sizes = [trial.num_params / 1e3 for trial in complete]
    dimensions += [
        {"label": "parameters (k)", "values": sizes},
        {"label": "mean IoU %", "values": scores},
    ]
    line = {"color": scores, "colorscale": "Cividis", "showscale": True}
    return go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=0))


def importance_plot(found: Mapping[str, float]) -> go.Figure:
    """Return importances as bars, greatest on top."""
    names = [name.replace("_", " ") for name in found]
    figure = go.Figure(
        go.Bar(
            x=[*found.values()],
            y=names,
            orientation="h",
            marker={"color": BLUE},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="share of mean IoU's variance at equal size", range=[0, 1])
    return figure


def _dimension(name: str, values: list[str]) -> dict[str, object]:
    kinds = sorted(set(values), key=_order)
    return {
        "label": name.replace("_", " "),
        "values": [kinds.index(value) for value in values],
        "tickvals": [*range(len(kinds))],
        "ticktext": kinds,
    }


def _label(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _order(label: str) -> tuple[bool, list[int], str]:
    parts = label.split("-")
    numeric = all(part.isdigit() for part in parts)
    return (not numeric, [int(part) for part in parts] if numeric else [], label)
