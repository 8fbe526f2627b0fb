"""Who moves in a generated street: vehicles, people on foot and on bicycles."""

from dataclasses import dataclass

import numpy as np

from pipeline.sources.camvid import CamVidClass
from pipeline.sources.streets.canvas import Canvas, Colour, Floats, Mask, Patch
from pipeline.sources.streets.things import scaled

_RUBBER: Colour = (28, 28, 30)
_PLATE: Colour = (200, 195, 140)


@dataclass(frozen=True)
class Vehicle:
    """A car, van or bus that drives or stands along the street, seen from behind or in front.

    ``bonnet`` is the share of its length, at either end, over which the cabin is not full height.
    """

    depth: float
    across: float
    length: float
    width: float
    height: float
    body: Colour
    glass: Colour
    lamps: Colour
    belt: float
    bonnet: float

    def paint(self, canvas: Canvas) -> None:
        """Paint the shadow, the flank that shows, and the end that faces the camera."""
        half = self.width / 2
        shadow = canvas.disc(self.depth, self.across, 0.0, half * 1.1, 0.16)
        canvas.shade(shadow, 0.45)
        flank = self.across - half if self.across > 0 else self.across + half
        if abs(self.across) > half:
            far = self.depth + self.length
            self._paint_flank(canvas, canvas.along(flank, self.depth, far, 0.0, self.height))
        left, right = self.across - half, self.across + half
        self._paint_end(canvas, canvas.facing(self.depth, left, right, 0.0, self.height))

    def _paint_flank(self, canvas: Canvas, side: Patch) -> None:
        run_HW = (side.run_HW - np.float32(self.depth)) / np.float32(self.length)
        paint_side(canvas, side, run_HW, self, light=0.8)

    def _paint_end(self, canvas: Canvas, end: Patch) -> None:
        out_HW = np.abs(end.run_HW - np.float32(self.across)) / np.float32(self.width / 2)
        up_HW = end.up_HW / np.float32(self.height)
        roof_half = 0.82 if self.bonnet > 0 else 1.0
        body_HW = (end.up_HW > 0.22) & ((up_HW < self.belt) | (out_HW < roof_half))
        wheels_HW = (end.up_HW < 0.4) & (out_HW > 0.68) & (out_HW < 0.95)
        canvas.paint(end.where(wheels_HW), _RUBBER, CamVidClass.CAR)
        canvas.paint(end.where(body_HW), self.body, CamVidClass.CAR)
        pane_HW = (up_HW > self.belt + 0.03) & (up_HW < 0.93) & (out_HW < roof_half - 0.12)
        canvas.paint(end.where(pane_HW), self.glass, None)
        lamps_HW = (end.up_HW > 0.6) & (end.up_HW < 0.85) & (out_HW > 0.72)
        canvas.paint(end.where(body_HW & lamps_HW), self.lamps, None)
        number_HW = (end.up_HW > 0.45) & (end.up_HW < 0.6) & (out_HW < 0.3)
        canvas.paint(end.where(number_HW), _PLATE, None)
        canvas.paint(end.where(body_HW & (end.up_HW < 0.38)), scaled(self.body, 0.5), None)


@dataclass(frozen=True)
class CrossingVehicle:
    """A vehicle seen from the side, on a street that crosses."""

    vehicle: Vehicle

    @property
    def depth(self) -> float:
        """Return where the vehicle is."""
        return self.vehicle.depth

    def paint(self, canvas: Canvas) -> None:
        """Paint the vehicle broadside."""
        vehicle, half = self.vehicle, self.vehicle.length / 2
        shadow = canvas.disc(vehicle.depth, vehicle.across, 0.0, half, 0.2)
        canvas.shade(shadow, 0.45)
        left, right = vehicle.across - half, vehicle.across + half
        side = canvas.facing(vehicle.depth, left, right, 0.0, vehicle.height)
        run_HW = (side.run_HW - np.float32(left)) / np.float32(vehicle.length)
        paint_side(canvas, side, run_HW, vehicle, light=1.0)


def paint_side(
    canvas: Canvas, side: Patch, run_HW: Floats, vehicle: Vehicle, *, light: float
) -> None:
    """Paint a vehicle's long side; ``run_HW`` goes from 0 to 1 along it."""
    up_HW = side.up_HW / np.float32(vehicle.height)
    slope_HW = (up_HW - np.float32(vehicle.belt)) * np.float32(vehicle.bonnet)
    cabin_HW = (run_HW > vehicle.bonnet / 2 + slope_HW) & (run_HW < 1 - vehicle.bonnet - slope_HW)
    body_HW = (side.up_HW > 0.22) & ((up_HW < vehicle.belt) | cabin_HW)
    canvas.paint(side.where(body_HW), scaled(vehicle.body, light), CamVidClass.CAR)
    pane_HW = cabin_HW & (up_HW > vehicle.belt + 0.03) & (up_HW < 0.92)
    canvas.paint(side.where(pane_HW & _between_posts(run_HW)), vehicle.glass, None)
    metres_HW = run_HW * np.float32(vehicle.length)
    for axle in (0.2, 0.8):
        out_HW = metres_HW - np.float32(axle * vehicle.length)
        up_wheel_HW = side.up_HW - np.float32(0.33)
        wheel_HW = out_HW * out_HW + up_wheel_HW * up_wheel_HW < 0.33 * 0.33
        canvas.paint(side.where(wheel_HW), _RUBBER, CamVidClass.CAR)


def _between_posts(run_HW: Floats) -> Mask:
    quarter_HW = run_HW * np.float32(4)
    glass_HW: Mask = np.abs(quarter_HW - np.floor(quarter_HW) - np.float32(0.5)) < 0.42
    return glass_HW


@dataclass(frozen=True)
class Person:
    """Somebody on foot, or on a bicycle seen along (``ride`` 0.6 m long) or broadside (1.7 m)."""

    depth: float
    across: float
    height: float
    coat: Colour
    trousers: Colour
    skin: Colour
    ride: float = 0.0

    def paint(self, canvas: Canvas) -> None:
        """Paint the bicycle if there is one, then the person."""
        label = CamVidClass.BICYCLIST if self.ride > 0 else CamVidClass.PEDESTRIAN
        if self.ride > 0:
            self._paint_bicycle(canvas)
        lift = 0.35 if self.ride > 0 else 0.0
        half = 0.34
        left, right = self.across - half, self.across + half
        box = canvas.facing(self.depth, left, right, lift, self.height)
        out_HW = np.abs(box.run_HW - np.float32(self.across))
        share_HW = (box.up_HW - np.float32(lift)) / np.float32(self.height - lift)
        stride_HW = (out_HW < 0.24) & ((out_HW > 0.04) | (share_HW > 0.3))
        canvas.paint(box.where((share_HW < 0.5) & stride_HW), self.trousers, label)
        trunk_HW = (share_HW >= 0.46) & (share_HW < 0.84) & (out_HW < 0.32)
        canvas.paint(box.where(trunk_HW), self.coat, label)
        canvas.paint(box.where((share_HW >= 0.84) & (out_HW < 0.15)), self.skin, label)

    def _paint_bicycle(self, canvas: Canvas) -> None:
        reach = self.ride / 2
        broadside = self.ride > 1
        axles = (
            (self.across - reach * 0.6, self.across + reach * 0.6) if broadside else (self.across,)
        )
        for axle in axles:
            wide = 0.34 if broadside else 0.08
            wheel = canvas.disc(self.depth, axle, 0.34, wide, 0.34)
            canvas.mark(wheel, CamVidClass.BICYCLIST)
            out_HW, up_HW = wheel.run_HW - np.float32(axle), wheel.up_HW - np.float32(0.34)
            tyre = wheel.where(out_HW * out_HW + up_HW * up_HW > 0.26 * 0.26)
            canvas.paint(tyre if broadside else wheel, _RUBBER, None)
        if broadside:
            left, right = self.across - reach * 0.6, self.across + reach * 0.6
            frame = canvas.facing(self.depth, left, right, 0.5, 0.62)
            canvas.paint(frame, self.trousers, CamVidClass.BICYCLIST)
        bars = canvas.facing(self.depth, self.across - 0.3, self.across + 0.3, 0.95, 1.05)
        canvas.paint(bars, _RUBBER, CamVidClass.BICYCLIST)
