"""A picture and its label map that are painted in one go, through a camera in a straight street.

World coordinates are metres: ``across`` to the right of the camera, ``up`` from the ground,
``depth`` ahead. A surface of the world becomes a ``Patch`` of pixels, each knowing its place on the
surface, so that textures are conditions in metres and come out right at every image size.

Only + - * / and comparisons touch the pixels: the same picture on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.camvid import CamVidClass

Colour = tuple[float, float, float]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_NEAREST = 1.5
_BLOTCH_CELLS = 12
_GRAIN_CELLS = 60


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street; pixels, except ``eye``, its height."""

    height: int
    width: int
    focal: float
    vanish_x: float
    vanish_y: float
    eye: float

    def column(self, across: float, depth: float) -> float:
        """Return the image column of a point."""
        return self.vanish_x + self.focal * across / depth

    def row(self, up: float, depth: float) -> float:
        """Return the image row of a point."""
        return self.vanish_y - self.focal * (up - self.eye) / depth


@dataclass(frozen=True)
class Patch:
    """The pixels of ``mask_HW`` inside ``rows`` x ``cols``, and where on the surface they lie.

    ``run_HW`` and ``up_HW`` broadcast to the mask's shape. Run is depth on a surface along the
    street and across on one that faces the camera.
    """

    rows: slice
    cols: slice
    mask_HW: Mask
    run_HW: Floats
    up_HW: Floats

    def where(self, mask_HW: Mask) -> "Patch":
        """Return the part of the patch where the mask holds as well."""
        return Patch(self.rows, self.cols, self.mask_HW & mask_HW, self.run_HW, self.up_HW)


@dataclass(frozen=True)
class Canvas:
    """What is being painted; its arrays change. Later paint covers earlier paint.

    ``blotch_HW`` is smooth noise and ``grain_HW`` rough noise, both in 0..1, for textures.
    """

    camera: Camera
    image_CHW: Floats
    label_HW: NDArray[np.uint8]
    blotch_HW: Floats
    grain_HW: Floats

    @classmethod
    def blank(cls, camera: Camera, rng: np.random.Generator) -> "Canvas":
        """Return an unpainted, unlabelled canvas with noise from ``rng``."""
        shape = (camera.height, camera.width)
        return cls(
            camera=camera,
            image_CHW=np.zeros((3, *shape), dtype=np.float32),
            label_HW=np.full(shape, CamVidClass.VOID, dtype=np.uint8),
            blotch_HW=smooth_noise(rng, shape, _BLOTCH_CELLS),
            grain_HW=(
                smooth_noise(rng, shape, _GRAIN_CELLS) * np.float32(0.6)
                + rng.random(shape, dtype=np.float32) * np.float32(0.4)
            ),
        )

    def paint(self, patch: Patch, colour: Colour, label: CamVidClass | None) -> None:
        """Colour the patch, and label it unless ``label`` is None."""
        pixels = self.image_CHW[:, patch.rows, patch.cols]
        np.copyto(pixels, per_channel(colour), where=patch.mask_HW)
        if label is not None:
            self.mark(patch, label)

    def mark(self, patch: Patch, label: CamVidClass) -> None:
        """Label the patch and leave its colours: what is seen through belongs to the thing."""
        np.copyto(self.label_HW[patch.rows, patch.cols], np.uint8(label), where=patch.mask_HW)

    def shade(self, patch: Patch, factor: float) -> None:
        """Make the patch's colours darker or brighter; a shadow changes no label."""
        pixels = self.image_CHW[:, patch.rows, patch.cols]
        np.multiply(pixels, np.float32(factor), out=pixels, where=patch.mask_HW)

    def roughen(self, patch: Patch, amount: float) -> None:
        """Vary the brightness of the patch by up to ``amount`` grey levels, in blotches."""
        blotch_HW = self.blotch_HW[patch.rows, patch.cols] - np.float32(0.5)
        change_HW = blotch_HW * np.float32(2 * amount) * patch.mask_HW
        self.image_CHW[:, patch.rows, patch.cols] += change_HW

    def along(self, across: float, near: float, far: float, low: float, high: float) -> Patch:
        """Return an upright surface along the street, between two depths and two heights."""
        camera, near = self.camera, max(near, _NEAREST)
        left, right = sorted((camera.column(across, near), camera.column(across, far)))
        cols = _inside(left, right, camera.width)
        rows = _inside(camera.row(high, near), camera.row(min(low, 0.0), near), camera.height)
        if far <= near or across == 0:
            cols = slice(0, 0)
        offset_W = np.arange(cols.start, cols.stop, dtype=np.float32) + np.float32(
            0.5 - camera.vanish_x
        )
        # (1, columns): a column of pixels shows one depth.
        depth_HW = (np.float32(camera.focal * across) / offset_W)[None, :]
        up_HW = self._up_at(rows, depth_HW)
        return Patch(rows, cols, (up_HW >= low) & (up_HW < high), depth_HW, up_HW)

    def facing(self, depth: float, left: float, right: float, low: float, high: float) -> Patch:
        """Return an upright rectangle that faces the camera, at least one pixel wide and high."""
        camera = self.camera
        cols = _inside(camera.column(left, depth), camera.column(right, depth), camera.width)
        rows = _inside(camera.row(high, depth), camera.row(low, depth), camera.height)
        if depth < _NEAREST:
            cols = slice(0, 0)
        offset_W = np.arange(cols.start, cols.stop, dtype=np.float32) + np.float32(
            0.5 - camera.vanish_x
        )
        run_HW = (offset_W * np.float32(depth / camera.focal))[None, :]
        up_HW = self._up_at(rows, np.full((1, 1), depth, dtype=np.float32))
        mask_HW = np.ones((rows.stop - rows.start, cols.stop - cols.start), dtype=np.bool_)
        return Patch(rows, cols, mask_HW, run_HW, up_HW)

    def disc(self, depth: float, across: float, up: float, wide: float, high: float) -> Patch:
        """Return an ellipse that faces the camera, given its centre and radii."""
        box = self.facing(depth, across - wide, across + wide, up - high, up + high)
        run_HW = (box.run_HW - np.float32(across)) / np.float32(wide)
        up_HW = (box.up_HW - np.float32(up)) / np.float32(high)
        return box.where(run_HW * run_HW + up_HW * up_HW < 1)

    def ground(self) -> tuple[Patch, Floats]:
        """Return all that lies below the horizon, run being across, and its depths (rows, 1)."""
        camera = self.camera
        rows = _inside(camera.vanish_y + 0.5, camera.height, camera.height)
        below_H = np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(
            0.5 - camera.vanish_y
        )
        depth_HW = (np.float32(camera.focal * camera.eye) / below_H)[:, None]
        offset_W = np.arange(camera.width, dtype=np.float32) + np.float32(0.5 - camera.vanish_x)
        across_HW = depth_HW * (offset_W / np.float32(camera.focal))[None, :]
        mask_HW = np.ones(across_HW.shape, dtype=np.bool_)
        up_HW = np.zeros((1, 1), dtype=np.float32)
        return Patch(rows, slice(0, camera.width), mask_HW, across_HW, up_HW), depth_HW

    def _up_at(self, rows: slice, depth_HW: Floats) -> Floats:
        camera = self.camera
        above_H = np.float32(camera.vanish_y - 0.5) - np.arange(
            rows.start, rows.stop, dtype=np.float32
        )
        return np.float32(camera.eye) + above_H[:, None] * (depth_HW / np.float32(camera.focal))


def per_channel(colour: Colour) -> Floats:
    """Return the colour as (3, 1, 1), to go with (C, H, W) pixels."""
    return np.array(colour, dtype=np.float32)[:, None, None]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], num_cells: int) -> Floats:
    """Return noise in 0..1 that varies over ``num_cells`` cells a side, linear in between."""
    knots = rng.random((num_cells + 1, num_cells + 1), dtype=np.float32)
    return _stretch(_stretch(knots, shape[0]).T, shape[1]).T


def _stretch(knots: Floats, length: int) -> Floats:
    place = np.arange(length, dtype=np.float32) * np.float32((len(knots) - 1) / length)
    cell = place.astype(np.intp)
    part = (place - cell).astype(np.float32)[:, None]
    return knots[cell] * (1 - part) + knots[cell + 1] * part


def _inside(start: float, stop: float, length: int) -> slice:
    """Return the pixels from ``start`` to ``stop`` that exist, one at least if it exists."""
    first = round(start)
    last = max(round(stop), first + 1)
    first = min(max(first, 0), length)
    return slice(first, min(max(last, first), length))
