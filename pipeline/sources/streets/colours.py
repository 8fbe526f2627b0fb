"""The colours of generated streets, drawn from a random generator."""

import numpy as np

from pipeline.sources.streets.canvas import Colour

Rng = np.random.Generator

# Walls, fences, vehicles, signs and clothes all draw from here.
_MATERIALS: tuple[Colour, ...] = (
    (132, 84, 70),
    (188, 168, 134),
    (214, 212, 206),
    (150, 152, 154),
    (84, 90, 100),
    (48, 48, 54),
    (76, 92, 122),
    (136, 58, 52),
)
# Summer greens, an autumn brown that is a brick's, and the grey of bare twigs.
_LEAVES: tuple[Colour, ...] = (
    (58, 70, 38),
    (78, 84, 48),
    (44, 54, 36),
    (112, 82, 58),
    (98, 92, 84),
)
_POSTS: tuple[Colour, ...] = ((58, 54, 50), (96, 92, 88), (128, 126, 122))


def material(rng: Rng) -> Colour:
    """Return the colour of a wall, a car, a fence, a sign or a coat: they are the same."""
    return varied(rng, _MATERIALS[rng.integers(len(_MATERIALS))], 9)


def foliage(rng: Rng, *, evergreen: bool = False) -> Colour:
    """Return the colour of leaves, or of the twigs of a bare tree."""
    return varied(rng, _LEAVES[rng.integers(3 if evergreen else len(_LEAVES))], 12)


def post_colour(rng: Rng) -> Colour:
    """Return the colour of a pole or of a trunk: they are the same."""
    return varied(rng, _POSTS[rng.integers(len(_POSTS))], 12)


def varied(rng: Rng, colour: Colour, amount: float) -> Colour:
    """Return the colour, brighter or darker by up to ``amount`` and a third of it off in hue."""
    shift, red, green, blue = rng.uniform(-amount, amount, 4).tolist()
    return colour[0] + shift + red / 3, colour[1] + shift + green / 3, colour[2] + shift + blue / 3
