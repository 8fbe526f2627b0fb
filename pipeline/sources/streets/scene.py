"""A generated street scene as a value, and its rendering: sky, ground, things, light, unlabelled.

A scene says everything in metres and shares of the picture; any image size can be rendered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.camvid import CamVidClass
from pipeline.sources.source import LabelledImage
from pipeline.sources.streets.canvas import (
    Camera,
    Canvas,
    Colour,
    Floats,
    Mask,
    Patch,
    per_channel,
    smooth_noise,
)
from pipeline.sources.streets.things import Thing, scaled

_VOID_CELLS = 8


@dataclass(frozen=True)
class View:
    """Where the camera stands and looks; shares of the picture's width and height, metres."""

    focal: float
    vanish_x: float
    vanish_y: float
    eye: float


@dataclass(frozen=True)
class Sky:
    """Colours at the top and at the horizon; ``clouds`` is how many grey levels clouds differ."""

    top: Colour
    horizon: Colour
    clouds: float


@dataclass(frozen=True)
class Side:
    """One side of the street: across of the kerb and of the pavement's outer edge (both signed).

    ``turning`` is the stretch of depths where a side street takes the place of the pavement.
    """

    kerb: float
    back: float
    verge: Colour
    verge_label: CamVidClass
    turning: tuple[float, float]


@dataclass(frozen=True)
class Ground:
    """The surface between the houses. Road and pavement are one material, in two shades at most.

    ``slab`` is the size of paving slabs, 0 for none; ``shade_side`` (-1, 1 or 0 for no shadow) and
    ``shade_reach`` say from which side the houses throw a shadow, and how far.
    """

    road: Colour
    pavement: Colour
    kerb: Colour
    line: Colour
    line_phase: float
    edge_lines: bool
    zebra: float
    slab: float
    patches: tuple[tuple[float, float, float, float, float], ...]
    shade_side: int
    shade_reach: float


@dataclass(frozen=True)
class Light:
    """What the camera makes of the colours.

    ``gain`` per channel, ``noise`` in grey levels, ``softness`` 0..1 of the edges, ``falloff`` the
    share by which one end of a row is brighter than the other.
    """

    gain: Colour
    noise: float
    softness: float
    falloff: float


@dataclass(frozen=True)
class Scene:
    """All that is in one picture."""

    view: View
    sky: Sky
    left: Side
    right: Side
    ground: Ground
    things: tuple[Thing, ...]
    bonnet: float
    bonnet_colour: Colour
    loose_labels: float
    light: Light


def render(scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> LabelledImage:
    """Return the scene's picture and label map; ``rng`` gives textures and noise."""
    height, width = image_size
    view = scene.view
    camera = Camera(
        height=height,
        width=width,
        focal=view.focal * width,
        vanish_x=view.vanish_x * width,
        vanish_y=view.vanish_y * height,
        eye=view.eye,
    )
    canvas = Canvas.blank(camera, rng)
    _paint_sky(canvas, scene.sky)
    _paint_ground(canvas, scene)
    for thing in sorted(scene.things, key=lambda thing: -thing.depth):
        thing.paint(canvas)
    _paint_bonnet(canvas, scene)
    image_HWC = _developed(canvas.image_CHW, scene.light, rng)
    _loosen_labels(canvas, scene.loose_labels, rng)
    return LabelledImage(image_HWC, canvas.label_HW)


def _paint_sky(canvas: Canvas, sky: Sky) -> None:
    horizon = canvas.camera.vanish_y
    rows_H = np.arange(canvas.camera.height, dtype=np.float32)
    down_H1 = np.minimum(rows_H / np.float32(horizon), np.float32(1))[:, None]
    top, bottom = per_channel(sky.top), per_channel(sky.horizon)
    clouds_HW = (canvas.blotch_HW - np.float32(0.5)) * np.float32(2 * sky.clouds)
    canvas.image_CHW[...] = top + down_H1 * (bottom - top) + clouds_HW
    canvas.label_HW[...] = CamVidClass.SKY


def _paint_ground(canvas: Canvas, scene: Scene) -> None:
    surface, depth_HW = canvas.ground()
    ground = scene.ground
    canvas.paint(surface, ground.road, CamVidClass.ROAD)
    _paint_lines(canvas, surface, depth_HW, scene)
    for side in (scene.left, scene.right):
        _paint_side(canvas, surface, depth_HW, side, ground)
    for across, depth, wide, long, factor in ground.patches:
        mask_HW = (np.abs(surface.run_HW - np.float32(across)) < wide) & (
            np.abs(depth_HW - np.float32(depth)) < long
        )
        canvas.shade(surface.where(mask_HW), factor)
    canvas.roughen(surface, 14)
    if ground.shade_side != 0:
        teeth_HW = np.floor(depth_HW / 7) % 3
        reach_HW = surface.run_HW * np.float32(ground.shade_side) + teeth_HW
        canvas.shade(surface.where(reach_HW > ground.shade_reach), 0.55)


def _paint_side(
    canvas: Canvas, surface: Patch, depth_HW: Floats, side: Side, ground: Ground
) -> None:
    sign = 1 if side.kerb > 0 else -1
    beyond_HW = surface.run_HW * np.float32(sign) - np.float32(abs(side.kerb))
    kept_HW = (depth_HW < side.turning[0]) | (depth_HW > side.turning[1])
    pavement = surface.where((beyond_HW > 0) & kept_HW)
    canvas.paint(pavement, ground.pavement, CamVidClass.PAVEMENT)
    if ground.slab > 0:
        joints_HW = _joint(surface.run_HW, ground.slab) | _joint(depth_HW, ground.slab)
        canvas.shade(pavement.where(joints_HW), 0.9)
    canvas.paint(pavement.where(beyond_HW < 0.22), ground.kerb, None)
    width = abs(side.back - side.kerb)
    canvas.paint(pavement.where(beyond_HW > width), side.verge, side.verge_label)


def _paint_lines(canvas: Canvas, surface: Patch, depth_HW: Floats, scene: Scene) -> None:
    ground, run_HW = scene.ground, surface.run_HW
    middle = (scene.left.kerb + scene.right.kerb) / 2
    turns_HW = depth_HW / 6 + np.float32(ground.line_phase)
    dashes_HW = (turns_HW - np.floor(turns_HW)) < 0.5
    lines_HW = (np.abs(run_HW - np.float32(middle)) < 0.07) & dashes_HW
    if ground.edge_lines:
        for side in (scene.left, scene.right):
            inner = side.kerb - (0.35 if side.kerb > 0 else -0.35)
            lines_HW = lines_HW | (np.abs(run_HW - np.float32(inner)) < 0.06)
    if ground.zebra > 0:
        stripes_HW = (run_HW - np.floor(run_HW)) < 0.5
        lines_HW = lines_HW | (stripes_HW & (np.abs(depth_HW - np.float32(ground.zebra)) < 1.2))
    canvas.paint(surface.where(lines_HW), ground.line, None)


def _joint(place_HW: Floats, size: float) -> Mask:
    cells_HW = place_HW / np.float32(size)
    joints_HW: Mask = (cells_HW - np.floor(cells_HW)) < 0.12
    return joints_HW


def _paint_bonnet(canvas: Canvas, scene: Scene) -> None:
    if scene.bonnet == 0:
        return
    height, width = canvas.label_HW.shape
    x_W = (np.arange(width, dtype=np.float32) / np.float32(width) - np.float32(0.5))[None, :]
    y_H = (np.arange(height, dtype=np.float32) / np.float32(height))[:, None]
    mask_HW = y_H > np.float32(1 - scene.bonnet) + x_W * x_W * np.float32(0.35)
    nothing = np.zeros((1, 1), dtype=np.float32)
    bonnet = Patch(slice(0, height), slice(0, width), mask_HW, nothing, nothing)
    canvas.paint(bonnet, scene.bonnet_colour, CamVidClass.VOID)
    shine_HW = y_H > np.float32(1 - scene.bonnet * 0.6) + x_W * x_W * np.float32(0.35)
    canvas.paint(bonnet.where(shine_HW), scaled(scene.bonnet_colour, 0.7), None)


def _developed(image_CHW: Floats, light: Light, rng: np.random.Generator) -> NDArray[np.uint8]:
    shape = image_CHW.shape
    x_W = np.arange(shape[2], dtype=np.float32) / np.float32(shape[2]) - np.float32(0.5)
    gain_C1W = per_channel(light.gain) * (1 + np.float32(light.falloff) * x_W)
    lit_CHW = _softened(image_CHW * gain_C1W, light.softness)
    # The sum of two uniform numbers: close enough to Gaussian, and exact everywhere.
    noise_CHW = rng.random(shape, dtype=np.float32) + rng.random(shape, dtype=np.float32)
    noisy_CHW = lit_CHW + (noise_CHW - 1) * np.float32(light.noise)
    image_HWC = np.clip(noisy_CHW, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(image_HWC)


def _softened(image_CHW: Floats, softness: float) -> Floats:
    """Mix every pixel with its neighbours, as a lens does."""
    share = np.float32(softness / 4)
    rows_CHW = image_CHW.copy()
    rows_CHW[:, 1:-1] += _bend(image_CHW[:, :-2], image_CHW[:, 1:-1], image_CHW[:, 2:]) * share
    both_CHW = rows_CHW.copy()
    both_CHW[..., 1:-1] += _bend(rows_CHW[..., :-2], rows_CHW[..., 1:-1], rows_CHW[..., 2:]) * share
    return both_CHW


def _bend(before: Floats, here: Floats, after: Floats) -> Floats:
    return before + after - 2 * here


def _loosen_labels(canvas: Canvas, amount: float, rng: np.random.Generator) -> None:
    """Leave borders between classes unlabelled here and there, as hands do."""
    label_HW = canvas.label_HW
    border_HW = np.zeros(label_HW.shape, dtype=np.bool_)
    border_HW[:, 1:] |= label_HW[:, 1:] != label_HW[:, :-1]
    border_HW[1:] |= label_HW[1:] != label_HW[:-1]
    hasty_HW = smooth_noise(rng, (label_HW.shape[0], label_HW.shape[1]), _VOID_CELLS) < amount
    label_HW[border_HW & hasty_HW] = CamVidClass.VOID
