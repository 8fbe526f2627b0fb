"""What stands beside a generated road, drawn from a random generator."""

from collections.abc import Iterator

import numpy as np

from pipeline.sources.camvid import CamVidClass
from pipeline.sources.streets.canvas import Colour
from pipeline.sources.streets.colours import foliage, material, post_colour, varied
from pipeline.sources.streets.scene import Side
from pipeline.sources.streets.things import (
    Fence,
    House,
    Panel,
    Plate,
    Pole,
    Thing,
    Tree,
    Windows,
    scaled,
)

Rng = np.random.Generator

_FAR = 70.0
_BACKDROP = 95.0
_SKY_COLOURED = 0.25


def plan_roadside(rng: Rng, left: Side, right: Side, horizon: Colour) -> Iterator[Thing]:
    """Yield all that stands beside the road and at its far end."""
    yield from _backdrop(rng, horizon)
    for side in (left, right):
        yield from _frontage(rng, side, horizon)
        yield from _furniture(rng, side)


def _wall_colour(rng: Rng, horizon: Colour) -> Colour:
    return varied(rng, horizon, 6) if rng.random() < _SKY_COLOURED else material(rng)


def _windows(rng: Rng, horizon: Colour) -> Windows | None:
    if rng.random() < 0.4:
        return None
    panes = ((52, 56, 62), (84, 92, 102), scaled(horizon, 0.85))
    return Windows(
        storey=rng.uniform(2.7, 3.6),
        bay=rng.uniform(1.8, 4.0),
        fill=rng.uniform(0.35, 0.75),
        pane=panes[rng.integers(3)],
        frame=material(rng),
        shop=rng.uniform(3.2, 4.0) if rng.random() < 0.45 else 0.0,
        board=material(rng),
    )


def _backdrop(rng: Rng, horizon: Colour) -> Iterator[Thing]:
    """Close the street's far end with houses, trees and stretches of open sky."""
    left = -70.0
    while left < 70.0:
        right = left + rng.uniform(6, 26)
        depth = _BACKDROP + rng.uniform(0, 10)
        draw = rng.random()
        if draw < 0.55:
            colour, high = _wall_colour(rng, horizon), rng.uniform(5, 22)
            windows = _windows(rng, horizon)
            yield Panel(depth, left, right, 0, high, colour, CamVidClass.BUILDING, windows)
        elif draw < 0.85:
            for middle in np.arange(left, right, 6.0):
                yield _tree(rng, depth, float(middle))
        yield Panel(depth, left, right, 0, 2.0, material(rng), CamVidClass.VOID)
        left = right


def _frontage(rng: Rng, side: Side, horizon: Colour) -> Iterator[Thing]:
    """Line one side with houses, gardens behind fences and openings, near to far."""
    near = rng.uniform(-6, 2)
    sign = 1 if side.kerb > 0 else -1
    built = rng.uniform(0.3, 0.95)
    while near < _FAR:
        far = near + rng.uniform(6, 20)
        turning = near < side.turning[1] and far > side.turning[0]
        if turning:
            far = side.turning[1] + rng.uniform(0, 2)
        elif rng.random() < built:
            setback = rng.uniform(0, 3) if rng.random() < 0.3 else 0.0
            yield _house(rng, near, far, side.back + sign * setback, horizon)
            if setback > 1:
                yield from _fence(rng, near, far, side.back)
        else:
            yield from _garden(rng, near, far, side.back, sign)
        near = far


def _house(rng: Rng, near: float, far: float, across: float, horizon: Colour) -> House:
    return House(
        depth=near,
        far=far,
        across=across,
        height=rng.uniform(4.5, 14),
        gable=rng.uniform(7, 14),
        wall=_wall_colour(rng, horizon),
        roof=varied(rng, (92, 80, 78), 20),
        roof_height=rng.uniform(0, 2.4),
        sunlit=rng.uniform(0.65, 1.1),
        windows=_windows(rng, horizon),
    )


def _garden(rng: Rng, near: float, far: float, back: float, sign: int) -> Iterator[Thing]:
    if rng.random() < 0.8:
        yield from _fence(rng, near, far, back)
    for depth in np.arange(max(near, 4.0), far, rng.uniform(4, 9)):
        yield _tree(rng, float(depth), back + sign * rng.uniform(0.8, 5))


def _fence(rng: Rng, near: float, far: float, across: float) -> Iterator[Thing]:
    """Put up short panels, so that what stands before one is not painted over."""
    hedge = rng.random() < 0.2
    label = CamVidClass.TREE if hedge else CamVidClass.FENCE
    colour = foliage(rng, evergreen=True) if hedge else material(rng)
    gap = 0.0 if hedge or rng.random() < 0.5 else rng.uniform(0.3, 0.5)
    height = rng.uniform(0.9, 2.4)
    while near < far:
        stop = min(near + max(2.0, near / 5), far)
        yield Fence(near, stop, across, height, colour, gap, label)
        near = stop


def _tree(rng: Rng, depth: float, across: float) -> Tree:
    height = rng.uniform(3.5, 9)
    radius = height * rng.uniform(0.15, 0.27)
    crown = tuple(
        (aside * radius, height + up * radius, size * radius)
        for aside, up, size in rng.uniform((-1.2, -1.2, 0.7), (1.2, 1.0, 1.1), (4, 3)).tolist()
    )
    return Tree(
        depth=depth,
        across=across,
        trunk_width=rng.uniform(0.2, 0.5),
        trunk_height=height,
        bark=post_colour(rng),
        leaves=foliage(rng),
        density=rng.uniform(0.45, 1.1),
        crown=crown,
    )


def _furniture(rng: Rng, side: Side) -> Iterator[Thing]:
    """Place posts, signs, street trees, railings and bins on the pavement."""
    sign = 1 if side.kerb > 0 else -1
    edge = side.kerb + sign * 0.4
    spacing = rng.uniform(5, 11)
    for depth in np.arange(rng.uniform(5, 9), 40, spacing):
        draw = rng.random()
        place = float(depth) + rng.uniform(-1.5, 1.5)
        if draw < 0.35:
            yield _lamp(rng, place, edge, -sign)
        elif draw < 0.65:
            yield _signpost(rng, place, edge)
        elif draw < 0.85:
            yield _tree(rng, place, edge + sign * 0.3)
        else:
            height, width = rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.6)
            left, right = edge - width, edge + width
            yield Panel(place, left, right, 0, height, material(rng), CamVidClass.VOID)
    if rng.random() < 0.3:
        near = rng.uniform(4, 14)
        yield from _fence(rng, near, near + rng.uniform(6, 16), edge)
    if rng.random() < 0.3:
        colour = post_colour(rng)
        for depth in np.arange(rng.uniform(4, 8), 30, 2.5):
            yield Pole(float(depth), edge, 0.2, 1.0, colour)


def _lamp(rng: Rng, depth: float, across: float, towards_road: int) -> Pole:
    arm = towards_road * rng.uniform(0.8, 1.8) if rng.random() < 0.7 else 0.0
    width, height = rng.uniform(0.2, 0.42), rng.uniform(4, 8)
    return Pole(depth, across, width, height, post_colour(rng), arm)


def _signpost(rng: Rng, depth: float, across: float) -> Pole:
    low = rng.uniform(1.7, 2.6)
    plate = Plate(
        low=low,
        high=low + rng.uniform(0.8, 1.7),
        half_width=rng.uniform(0.4, 0.95),
        is_round=rng.random() < 0.3,
        face=material(rng),
        mark=material(rng),
    )
    height = plate.high + (rng.uniform(0, 3) if rng.random() < 0.4 else 0.0)
    return Pole(depth, across, rng.uniform(0.16, 0.34), height, post_colour(rng), plate=plate)
