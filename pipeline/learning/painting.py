"""Class ids as pictures for people.

H height, W width, C channels.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.manifest import Colour

_STRENGTH = 0.6  # of the colours over the picture


def ids_png(labels_HW: NDArray[np.uint8], palette: Sequence[Colour]) -> bytes:
    """Return class ids as a palette PNG: its values are the ids, its looks the classes' colours."""
    picture = Image.fromarray(labels_HW)
    picture.putpalette([value for colour in palette for value in colour])
    return _png(picture)


def overlay_png(
    image_HWC: NDArray[np.uint8], labels_HW: NDArray[np.uint8], palette: Sequence[Colour]
) -> bytes:
    """Return a picture with the classes' colours laid over it."""
    colours_HWC = np.array(palette, dtype=np.uint8)[labels_HW]
    return _png(Image.blend(Image.fromarray(image_HWC), Image.fromarray(colours_HWC), _STRENGTH))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
