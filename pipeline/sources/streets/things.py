"""What stands in a generated street, and how each thing is painted and labelled.

Walls, fences, vehicles, signs and clothes share their colours, poles and trunks their shape:
what something is shows only in what surrounds it.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.sources.camvid import CamVidClass
from pipeline.sources.streets.canvas import Canvas, Colour, Floats, Mask, Patch


class Thing(Protocol):
    """Something upright; things are painted from far to near."""

    @property
    def depth(self) -> float:
        """How far away the thing begins; what is nearer is painted over it."""
        ...

    def paint(self, canvas: Canvas) -> None:
        """Paint and label the thing."""
        ...


@dataclass(frozen=True)
class Windows:
    """A grid of openings in a wall: sizes in metres, ``fill`` the share of a cell that is open.

    ``shop`` is the height of a ground floor with wide panes and a painted board, 0 for none.
    """

    storey: float
    bay: float
    fill: float
    pane: Colour
    frame: Colour
    shop: float
    board: Colour


@dataclass(frozen=True)
class House:
    """A building along the street, from ``depth`` to ``far``, its front at ``across``.

    ``gable`` is how far the wall that faces the camera reaches away from the street.
    """

    depth: float
    far: float
    across: float
    height: float
    gable: float
    wall: Colour
    roof: Colour
    roof_height: float
    sunlit: float
    windows: Windows | None

    def paint(self, canvas: Canvas) -> None:
        """Paint the gable, then the front."""
        outer = self.across + (self.gable if self.across > 0 else -self.gable)
        left, right = sorted((self.across, outer))
        gable = canvas.facing(self.depth, left, right, 0.0, self.height)
        front = canvas.along(self.across, self.depth, self.far, 0.0, self.height)
        for patch, light in ((gable, 1.0), (front, self.sunlit)):
            self._paint_wall(canvas, patch, light)
        for patch in (gable, front):
            canvas.roughen(patch, 9)

    def _paint_wall(self, canvas: Canvas, patch: Patch, light: float) -> None:
        canvas.paint(patch, scaled(self.wall, light), CamVidClass.BUILDING)
        if self.windows is not None:
            _paint_windows(canvas, patch, self.windows, self.height - self.roof_height, light)
        roof = patch.where(patch.up_HW > self.height - self.roof_height)
        canvas.paint(roof, scaled(self.roof, light), None)


def _paint_windows(
    canvas: Canvas, wall: Patch, windows: Windows, eaves: float, light: float
) -> None:
    up_HW, run_HW = wall.up_HW - np.float32(windows.shop), wall.run_HW
    half = windows.fill / 2
    upper_HW = (up_HW > 0.3) & (wall.up_HW < eaves - 0.4)
    opening_HW = _within(up_HW, windows.storey, half) & _within(run_HW, windows.bay, half)
    frame_HW = _within(up_HW, windows.storey, half + 0.06) & _within(
        run_HW, windows.bay, half + 0.06
    )
    canvas.paint(wall.where(upper_HW & frame_HW), scaled(windows.frame, light), None)
    canvas.paint(wall.where(upper_HW & opening_HW), windows.pane, None)
    if windows.shop > 0:
        top = windows.shop
        board = wall.where((wall.up_HW > top - 0.7) & (wall.up_HW < top))
        canvas.paint(board, scaled(windows.board, light), None)
        panes_HW = (wall.up_HW > 0.5) & (wall.up_HW < top - 0.8)
        panes_HW = panes_HW & _within(run_HW, windows.bay * 1.3, 0.42)
        canvas.paint(wall.where(panes_HW), windows.pane, None)


@dataclass(frozen=True)
class Panel:
    """A flat thing that faces the camera: a far house, a tree line, a bin, a hoarding."""

    depth: float
    left: float
    right: float
    low: float
    high: float
    colour: Colour
    label: CamVidClass
    windows: Windows | None = None

    def paint(self, canvas: Canvas) -> None:
        """Paint the panel and its windows."""
        patch = canvas.facing(self.depth, self.left, self.right, self.low, self.high)
        canvas.paint(patch, self.colour, self.label)
        if self.windows is not None:
            _paint_windows(canvas, patch, self.windows, self.high, 1.0)
        canvas.roughen(patch, 9)


@dataclass(frozen=True)
class Fence:
    """A fence (or with label TREE a hedge) along the street; ``gap`` metres between bars."""

    depth: float
    far: float
    across: float
    height: float
    colour: Colour
    gap: float
    label: CamVidClass

    def paint(self, canvas: Canvas) -> None:
        """Paint bars and rails, or the whole where there is no gap."""
        patch = canvas.along(self.across, self.depth, self.far, 0.0, self.height)
        if self.gap == 0:
            canvas.paint(patch, self.colour, self.label)
            canvas.roughen(patch, 25 if self.label == CamVidClass.TREE else 9)
            return
        canvas.mark(patch, self.label)
        bars_HW = _within(patch.run_HW, self.gap, 0.2)
        rails_HW = (patch.up_HW > self.height - 0.12) | (
            (patch.up_HW > 0.12) & (patch.up_HW < 0.22)
        )
        canvas.paint(patch.where(bars_HW | rails_HW), self.colour, None)


@dataclass(frozen=True)
class Tree:
    """A trunk under a crown of discs (across, up, radius); ``density`` 1 hides all behind it."""

    depth: float
    across: float
    trunk_width: float
    trunk_height: float
    bark: Colour
    leaves: Colour
    density: float
    crown: tuple[tuple[float, float, float], ...]

    def paint(self, canvas: Canvas) -> None:
        """Paint the trunk, then the crown over it."""
        half = self.trunk_width / 2
        left, right = self.across - half, self.across + half
        trunk = canvas.facing(self.depth, left, right, 0.0, self.trunk_height)
        canvas.paint(trunk, self.bark, CamVidClass.TREE)
        crown = self._crown(canvas)
        canvas.mark(crown, CamVidClass.TREE)
        grain_HW = canvas.grain_HW[crown.rows, crown.cols]
        for light, share in ((0.7, 0.85), (1.0, 0.6), (1.3, 0.35)):
            leaves = crown.where(grain_HW < share * self.density)
            canvas.paint(leaves, scaled(self.leaves, light), None)
        canvas.roughen(crown, 18)

    def _crown(self, canvas: Canvas) -> Patch:
        left = min(across - radius for across, _, radius in self.crown)
        right = max(across + radius for across, _, radius in self.crown)
        low = min(up - radius for _, up, radius in self.crown)
        high = max(up + radius for _, up, radius in self.crown)
        box = canvas.facing(self.depth, self.across + left, self.across + right, low, high)
        leafy_HW = np.zeros_like(box.mask_HW)
        for across, up, radius in self.crown:
            out_HW = box.run_HW - np.float32(self.across + across)
            up_HW = box.up_HW - np.float32(up)
            leafy_HW |= out_HW * out_HW + up_HW * up_HW < radius * radius
        return box.where(leafy_HW)


@dataclass(frozen=True)
class Plate:
    """A board on a pole: a sign, or the box of a traffic light."""

    low: float
    high: float
    half_width: float
    is_round: bool
    face: Colour
    mark: Colour


@dataclass(frozen=True)
class Pole:
    """A lamp post, a sign's pole or a bollard; ``arm`` reaches sideways at the top."""

    depth: float
    across: float
    width: float
    height: float
    colour: Colour
    arm: float = 0.0
    plate: Plate | None = None

    def paint(self, canvas: Canvas) -> None:
        """Paint the pole, then its arm and plate."""
        half = self.width / 2
        left, right = self.across - half, self.across + half
        pole = canvas.facing(self.depth, left, right, 0.0, self.height)
        canvas.paint(pole, self.colour, CamVidClass.POLE)
        if self.arm != 0:
            left, right = sorted((self.across, self.across + self.arm))
            arm = canvas.facing(self.depth, left, right, self.height - 0.15, self.height)
            canvas.paint(arm, self.colour, CamVidClass.POLE)
        if self.plate is not None:
            self._paint_plate(canvas, self.plate)

    def _paint_plate(self, canvas: Canvas, plate: Plate) -> None:
        middle, half = (plate.low + plate.high) / 2, (plate.high - plate.low) / 2
        wide = plate.half_width
        for colour, size in ((plate.face, 1.0), (plate.mark, 0.6)):
            if plate.is_round:
                patch = canvas.disc(self.depth, self.across, middle, wide * size, half * size)
            else:
                left, right = self.across - wide * size, self.across + wide * size
                low, high = middle - half * size, middle + half * size
                patch = canvas.facing(self.depth, left, right, low, high)
            canvas.paint(patch, colour, CamVidClass.SIGN_SYMBOL)


def scaled(colour: Colour, factor: float) -> Colour:
    """Return the colour under more or less light."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _within(place_HW: Floats, period: float, half: float) -> Mask:
    """Return where a place lies within ``half`` a period of the middle of its cell."""
    turns_HW = place_HW / np.float32(period)
    inside_HW: Mask = np.abs(turns_HW - np.floor(turns_HW) - np.float32(0.5)) < half
    return inside_HW
