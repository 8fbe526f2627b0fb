"""What a generated scene shows, drawn from a random generator: camera, street, weather."""

import numpy as np

from pipeline.sources.camvid import CamVidClass
from pipeline.sources.streets.canvas import Colour
from pipeline.sources.streets.colours import material
from pipeline.sources.streets.roadside import plan_roadside
from pipeline.sources.streets.scene import Ground, Light, Scene, Side, Sky, View
from pipeline.sources.streets.users import plan_users

Rng = np.random.Generator

_SKIES = (
    Sky(top=(226, 230, 236), horizon=(240, 240, 240), clouds=8),
    Sky(top=(150, 186, 232), horizon=(216, 230, 244), clouds=16),
    Sky(top=(150, 156, 166), horizon=(196, 198, 200), clouds=30),
    Sky(top=(128, 138, 160), horizon=(226, 206, 180), clouds=22),
)
_NO_TURNING = (1e6, 1e6)


def plan_scene(rng: Rng) -> Scene:
    """Return a scene; the same generator state gives the same scene."""
    sky = _SKIES[rng.integers(len(_SKIES))]
    view = View(
        focal=rng.uniform(1.15, 1.5),
        vanish_x=rng.uniform(0.25, 0.75),
        vanish_y=rng.uniform(0.44, 0.56),
        eye=rng.uniform(1.3, 1.8),
    )
    left, right = _sides(rng)
    roadside = plan_roadside(rng, left, right, sky.horizon)
    return Scene(
        view=view,
        sky=sky,
        left=left,
        right=right,
        ground=_ground(rng, left, right),
        things=(*roadside, *plan_users(rng, left, right)),
        bonnet=rng.uniform(0.04, 0.14) if rng.random() < 0.25 else 0.0,
        bonnet_colour=material(rng),
        loose_labels=rng.uniform(0.2, 0.5),
        light=_light(rng),
    )


def _sides(rng: Rng) -> tuple[Side, Side]:
    """Put the camera in one of two lanes; which lane is the near one varies."""
    near, far = rng.uniform(1.6, 3.4), rng.uniform(3.6, 6.5)
    left, right = (near, far) if rng.random() < 0.6 else (far, near)
    return _side(rng, -left), _side(rng, right)


def _side(rng: Rng, kerb: float) -> Side:
    sign = 1 if kerb > 0 else -1
    is_grass = rng.random() < 0.5
    verge = (84.0, 96.0, 58.0) if is_grass else (120.0, 116.0, 112.0)
    turning = _NO_TURNING
    if rng.random() < 0.35:
        start = rng.uniform(6, 30)
        turning = (start, start + rng.uniform(5, 9))
    return Side(
        kerb=kerb,
        back=kerb + sign * rng.uniform(2.2, 5.0),
        verge=verge,
        verge_label=CamVidClass.TREE if is_grass else CamVidClass.PAVEMENT,
        turning=turning,
    )


def _ground(rng: Rng, left: Side, right: Side) -> Ground:
    grey = rng.uniform(84, 150)
    road = _grey(rng, grey)
    # Often no difference at all, and either may be the brighter one.
    pavement = _grey(rng, grey + rng.uniform(-9, 9))
    patches = tuple(
        (
            rng.uniform(left.back, right.back),
            rng.uniform(3, 20),
            rng.uniform(0.3, 1.4),
            rng.uniform(0.4, 3),
            rng.uniform(0.82, 1.14),
        )
        for _ in range(rng.integers(2, 9))
    )
    return Ground(
        road=road,
        pavement=pavement,
        kerb=_grey(rng, grey + rng.uniform(18, 45) * (1 if rng.random() < 0.7 else -1)),
        line=_grey(rng, rng.uniform(170, 235)),
        line_phase=rng.random(),
        edge_lines=rng.random() < 0.35,
        zebra=rng.uniform(6, 20) if rng.random() < 0.15 else 0.0,
        slab=rng.uniform(0.5, 1.0) if rng.random() < 0.3 else 0.0,
        patches=patches,
        shade_side=int(rng.integers(-1, 2)),
        shade_reach=rng.uniform(-2, 4),
    )


def _grey(rng: Rng, level: float) -> Colour:
    return level + rng.uniform(-2, 2), level, level + rng.uniform(-4, 4)


def _light(rng: Rng) -> Light:
    level = rng.uniform(0.45, 0.7) if rng.random() < 0.2 else rng.uniform(0.85, 1.15)
    warmth = rng.uniform(-0.08, 0.08)
    return Light(
        gain=(level * (1 + warmth), level, level * (1 - warmth)),
        noise=rng.uniform(3, 8),
        softness=rng.uniform(0.2, 0.8),
        falloff=rng.uniform(-0.3, 0.3),
    )
