"""Labels as PNG: ids to work with, colours to look at."""

import io

import numpy as np
from PIL import Image

from pipeline.learning.painting import ids_png, overlay_png

PALETTE = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
LABELS = np.array([[0, 1, 2], [2, 2, 0]], dtype=np.uint8)


def test_the_values_are_the_ids_and_the_looks_the_colours() -> None:
    picture = Image.open(io.BytesIO(ids_png(LABELS, PALETTE)))

    assert picture.mode == "P"
    np.testing.assert_array_equal(np.array(picture), LABELS)
    np.testing.assert_array_equal(np.array(picture.convert("RGB")), np.array(PALETTE)[LABELS])


def test_an_overlay_lies_between_picture_and_colours() -> None:
    image = np.full((2, 3, 3), 100, dtype=np.uint8)
    overlay = np.array(Image.open(io.BytesIO(overlay_png(image, LABELS, PALETTE))))

    expected = 0.4 * image + 0.6 * np.array(PALETTE)[LABELS]
    assert overlay.shape == image.shape
    np.testing.assert_allclose(overlay, expected, atol=1)
