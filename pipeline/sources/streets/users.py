"""Who uses a generated street, drawn from a random generator: people and vehicles."""

from collections.abc import Iterator

import numpy as np

from pipeline.sources.streets.colours import material, varied
from pipeline.sources.streets.scene import Side
from pipeline.sources.streets.things import Thing
from pipeline.sources.streets.traffic import CrossingVehicle, Person, Vehicle

Rng = np.random.Generator


def plan_users(rng: Rng, left: Side, right: Side) -> Iterator[Thing]:
    """Yield everybody on the pavements and on the road."""
    for side in (left, right):
        yield from _people(rng, side)
        yield from _parked(rng, side)
    yield from _traffic(rng, left, right)


def _people(rng: Rng, side: Side) -> Iterator[Thing]:
    for _ in range(rng.integers(0, 6)):
        depth = rng.uniform(5, 20)
        across = side.kerb + (side.back - side.kerb) * rng.uniform(0.1, 0.95)
        yield _person(rng, depth, across, ride=0.0)
    if rng.random() < 0.45:
        # Clear of parked cars, which stand up to 2 m from the kerb.
        across = side.kerb - (1 if side.kerb > 0 else -1) * rng.uniform(2.1, 2.6)
        ride = 0.6 if rng.random() < 0.7 else 1.7
        yield _person(rng, rng.uniform(5, 15), across, ride=ride)


def _person(rng: Rng, depth: float, across: float, *, ride: float) -> Person:
    height = rng.uniform(1.5, 1.9)
    skin = varied(rng, ((182, 144, 124), (120, 84, 66), (60, 46, 40))[rng.integers(3)], 12)
    return Person(depth, across, height, material(rng), material(rng), skin, ride)


def _parked(rng: Rng, side: Side) -> Iterator[Thing]:
    if rng.random() < 0.6:
        return
    sign = 1 if side.kerb > 0 else -1
    depth = rng.uniform(5, 16)
    while depth < 50:
        if not side.turning[0] - 5 < depth < side.turning[1]:
            yield _vehicle(rng, depth, side.kerb - sign * 1.1)
        depth += rng.uniform(5.5, 16)


def _traffic(rng: Rng, left: Side, right: Side) -> Iterator[Thing]:
    lanes = (left.kerb * 0.35 + right.kerb * 0.1, right.kerb * 0.6)
    for lane, chance in zip(lanes, (0.5, 0.6), strict=True):
        depth = rng.uniform(7, 26)
        while rng.random() < chance:
            yield _vehicle(rng, depth, lane + rng.uniform(-0.4, 0.4))
            depth += rng.uniform(8, 25)
    if rng.random() < 0.2:
        vehicle = _vehicle(rng, rng.uniform(18, 40), rng.uniform(-6, 6))
        yield CrossingVehicle(vehicle)


def _vehicle(rng: Rng, depth: float, across: float) -> Vehicle:
    is_van = rng.random() < 0.3
    is_bus = is_van and rng.random() < 0.35
    body = material(rng)
    # The side of a delivery van is a blank wall.
    is_blank = is_van and not is_bus and rng.random() < 0.6
    return Vehicle(
        depth=depth,
        across=across,
        length=rng.uniform(9, 11) if is_bus else rng.uniform(3.7, 4.8),
        width=2.4 if is_bus else rng.uniform(1.65, 1.9),
        height=rng.uniform(2.9, 4.2) if is_bus else rng.uniform(1.9, 2.5) if is_van else 1.45,
        body=body,
        glass=body
        if is_blank
        else varied(rng, ((40, 44, 50), (92, 100, 110))[rng.integers(2)], 12),
        lamps=(170, 40, 36) if rng.random() < 0.5 else (226, 224, 210),
        belt=rng.uniform(0.5, 0.75) if is_van else rng.uniform(0.55, 0.65),
        bonnet=0.0 if is_van else 0.2,
    )
