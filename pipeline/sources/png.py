"""PNG through libpng, which decodes and encodes about twice as fast as Pillow does.

Pillow keeps the say over what a file is and whether it is taken at all; only the pixels come from
here. H height, W width.
"""

from typing import Any, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Filters that are chosen fast and runs in place of a search for repeats: half the time of Pillow's
# level 2, and fewer bytes than its level 6. docs/decisions.md has the measurements.
_HOW = {
    "level": 1,
    "filter": imagecodecs.PNG.FILTER.FAST,
    "strategy": imagecodecs.PNG.STRATEGY.RLE,
}
_PLAIN_FORMATS = ("RGB", "L")


def pixels(picture: Image.Image, content: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a picture that Pillow has opened, (H, W) or (H, W, 3), as it would.

    Args:
        picture: opened, not loaded.
        content: the file it was opened from.

    Raises:
        OSError: the file is damaged.
    """
    if not _is_plain(picture):
        return np.array(picture)
    try:
        # Any buffer will do, whatever its type hints say.
        decoded: NDArray[np.uint8] = imagecodecs.png_decode(cast(bytes, content))
    except imagecodecs.PngError as cause:
        raise OSError(str(cause)) from cause
    return decoded


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, (H, W) or (H, W, 3), as a PNG file; the same ones always as the same bytes."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), **_HOW))


def _is_plain(picture: Any) -> bool:
    """Return whether libpng gives the same pixels: 8 bits, one still, neither palette nor alpha."""
    return (
        picture.format == "PNG"
        and [tile.args for tile in picture.tile] in ([name] for name in _PLAIN_FORMATS)
        and "transparency" not in picture.info
        and not picture.is_animated
    )
