"""The front as SVG inside a page: its style sheet colours it, for light and dark alike."""

import html
import math
from dataclasses import dataclass

from pipeline.core.units import format_count
from pipeline.runtime.figures.series import Point, Series

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 22, 44
_CLASSES = {
    "dominated": "dominated",
    "front": "front",
    "other networks": "rival",
    "M3N21 (the paper's)": "paper",
    "champion": "champion",
}


@dataclass(frozen=True)
class _Plane:
    """Where sizes and accuracies lie on the picture, in its own units."""

    width: int
    height: int
    sizes: tuple[float, float]
    scores: tuple[float, float]

    def x(self, num_params: float) -> float:
        low, high = self.sizes
        inner = self.width - _LEFT - _RIGHT
        return round(_LEFT + inner * (num_params - low) / (high - low), 1)

    def y(self, mean_iou: float) -> float:
        low, high = self.scores
        inner = self.height - _TOP - _BOTTOM
        return round(_TOP + inner * (high - mean_iou) / (high - low), 1)


def front_svg(series: list[Series], budget: int, width: int, height: int, about: str) -> str:
    """Return the picture; each point tells its network when pointed at.

    Args:
        series: see ``front_series``; at least one.
        budget: drawn as a line.
        width: of the picture, in CSS pixels; text has its natural size at this width.
        height: likewise.
        about: the picture in words, for who cannot see it.
    """
    points = [point for one in series for point in one.points]
    sizes = [point.num_params for point in points]
    plane = _Plane(
        width,
        height,
        _padded(min(sizes), max(budget, *sizes), 0.04),
        _padded(
            min(p.mean_iou - p.spread for p in points),
            max(p.mean_iou + p.spread for p in points),
            0.08,
        ),
    )
    parts = [*_axes(plane), _budget(plane, budget), *(_draw(plane, one) for one in series)]
    words = html.escape(about)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    span = (high - low) or max(abs(high) * 0.1, 1.0)
    return low - span * share, high + span * share


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` round numbers between two bounds, evenly spaced."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if power * m >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]


def _axes(plane: _Plane) -> list[str]:
    right, bottom = plane.width - _RIGHT, plane.height - _BOTTOM
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{plane.y(v)}" y2="{plane.y(v)}"/>'
        f'<text class="tick end" x="{_LEFT - 6}" y="{plane.y(v) + 4}">{v:g}</text>'
        for v in ticks(*plane.scores, 7)
    ]
    parts += [
        f'<text class="tick middle" x="{plane.x(v)}" y="{bottom + 17}">'
        f"{format_count(round(v)) if v > 0 else 0}</text>"
        for v in ticks(*plane.sizes, plane.width // 80)
    ]
    middle = (_LEFT + right) / 2
    return [
        *parts,
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<text class="label" x="0" y="{_TOP - 9}">mean IoU on val, %</text>',
        f'<text class="label middle" x="{middle}" y="{plane.height - 6}">parameters</text>',
    ]


def _budget(plane: _Plane, budget: int) -> str:
    x = plane.x(budget)
    return (
        f'<line class="budget" x1="{x}" x2="{x}" y1="{_TOP}" y2="{plane.height - _BOTTOM}"/>'
        f'<text class="label end" x="{x}" y="{_TOP - 9}">budget {format_count(budget)}</text>'
    )


def _draw(plane: _Plane, series: Series) -> str:
    shapes = [_steps(plane, series.points)] if series.joined else []
    for point in series.points:
        x, y = plane.x(point.num_params), plane.y(point.mean_iou)
        if point.spread:
            low, high = (plane.y(point.mean_iou + s * point.spread) for s in (-1, 1))
            shapes.append(f'<line class="spread" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
        seeds = f", mean of {point.seeds} seeds" if point.seeds > 1 else ""
        words = f"{point.text}: {point.num_params:,} parameters, {point.mean_iou:.2f} %{seeds}"
        shapes.append(
            f'<g transform="translate({x} {y})">{marker(series.symbol)}'
            f"<title>{html.escape(words)}</title></g>"
        )
        if series.named:
            text = html.escape(point.text)
            shapes.append(f'<text class="label" x="{x + 9}" y="{y + 4}">{text}</text>')
    return f'<g class="{_CLASSES[series.name]}">{"".join(shapes)}</g>'


def _steps(plane: _Plane, points: tuple[Point, ...]) -> str:
    path = f"M{plane.x(points[0].num_params)} {plane.y(points[0].mean_iou)}"
    path += "".join(f"H{plane.x(p.num_params)}V{plane.y(p.mean_iou)}" for p in points[1:])
    return f'<path class="steps" d="{path}"/>'


def marker(symbol: str) -> str:
    """Return a marker around the origin."""
    if symbol == "circle":
        return '<circle r="4.5"/>'
    if symbol == "square":
        return '<rect x="-4.5" y="-4.5" width="9" height="9"/>'
    if symbol == "diamond":
        return '<path d="M0-8 8 0 0 8-8 0Z"/>'
    corners = [
        (radius * math.sin(k * math.pi / 5), -radius * math.cos(k * math.pi / 5))
        for k, radius in enumerate([8.0, 3.4] * 5)
    ]
    return '<path d="M' + " ".join(f"{x:.1f} {y:.1f}" for x, y in corners) + 'Z"/>'


def legend(series: list[Series]) -> list[tuple[str, str, str]]:
    """Return for each series its style class, its marker as SVG, and its name."""
    return [
        (
            _CLASSES[one.name],
            f'<svg viewBox="-10 -10 20 20" width="16" height="16" aria-hidden="true">'
            f'<g class="{_CLASSES[one.name]}">{marker(one.symbol)}</g></svg>',
            one.name,
        )
        for one in series
    ]
