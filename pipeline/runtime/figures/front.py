"""The front of mean IoU against size: a PNG for a page, a plot for a browser."""

import io

import plotly.graph_objects as go
from matplotlib.figure import Figure

from pipeline.runtime.figures.series import INK, Series

_SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "star": "*"}  # matplotlib's


def front_png(series: list[Series], budget: int, title: str) -> bytes:
    """Return the front as a PNG of 1200x750 pixels."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for one in series:
        x, y = _plane(one)
        if any(point.spread for point in one.points):
            bars = [point.spread for point in one.points]
            axes.errorbar(x, y, bars, fmt="none", ecolor=one.colour, capsize=3, linewidth=1)
        axes.plot(
            x,
            y,
            label=one.name,
            color=one.colour,
            marker=_SYMBOLS[one.symbol],
            markersize=one.size * 0.7,
            linestyle="-" if one.joined else "none",
            drawstyle="steps-post",
        )
        for point in one.points if one.named else ():
            where = (point.num_params / 1e3, point.mean_iou)
            axes.annotate(point.text, where, (6, -3), textcoords="offset points", fontsize=8)
    axes.axvline(budget / 1e3, color=INK, linestyle="--", linewidth=1, label="budget")
    axes.set_title(title, fontsize=11)
    axes.set(xlabel="parameters (thousands)", ylabel="mean IoU on val (%)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def front_plot(series: list[Series], budget: int) -> go.Figure:
    """Return the same for a browser; hovering names the architecture."""
    figure = go.Figure()
    for one in series:
        figure.add_scatter(
            x=[point.num_params for point in one.points],
            y=[point.mean_iou for point in one.points],
            text=[point.text for point in one.points],
            customdata=[_seeds(point.seeds, point.spread) for point in one.points],
            error_y={
                "array": [point.spread for point in one.points],
                "visible": any(point.spread for point in one.points),
                "thickness": 1.2,
            },
            name=one.name,
            mode=("lines+" if one.joined else "") + "markers" + ("+text" if one.named else ""),
            textposition="middle right",
            line={"shape": "hv"},
            marker={"color": one.colour, "symbol": one.symbol, "size": one.size * 1.3},
            hovertemplate="%{text}<br>%{x:,} parameters<br>%{y:.2f} % mean IoU%{customdata}"
            "<extra></extra>",
        )
    figure.add_vline(
        x=budget, line_dash="dash", line_color=INK, annotation_text=f"budget {budget:,}"
    )
    figure.update_layout(xaxis_title="parameters", yaxis_title="mean IoU on val (%)")
    return figure


def _plane(series: Series) -> tuple[list[float], list[float]]:
    points = series.points
    return [point.num_params / 1e3 for point in points], [point.mean_iou for point in points]


def _seeds(count: int, spread: float) -> str:
    return f", mean of {count} seeds, deviation {spread:.2f}" if count > 1 else ", one seed"
