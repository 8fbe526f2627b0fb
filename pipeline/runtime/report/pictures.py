"""The champion at work on fixed samples of val: picture, truth, prediction, error.

H height, W width, C channels.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.manifest import ClassTable
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.split import Split

NUM_SAMPLES = 4
_MOST_PIXELS = 480  # of a side; larger pictures are made smaller for the page
_WRONG, _IGNORED = (213, 94, 0), (128, 128, 128)


@dataclass(frozen=True)
class Panel:
    """One picture of a sample, as a data URI, and what it is in words."""

    name: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A sample of val."""

    key: str
    correct: float  # share of its labelled pixels
    panels: tuple[Panel, ...]


def fixed_indices(count: int, wanted: int = NUM_SAMPLES) -> list[int]:
    """Return which samples are shown: evenly spread, the same for every network."""
    shown = min(count, wanted)
    return [(2 * k + 1) * count // (2 * shown) for k in range(shown)]


def sample_rows(segmenter: Segmenter, split: Split, classes: ClassTable) -> list[Row]:
    """Return the fixed samples of a split as the network sees them."""
    rows = []
    for index in fixed_indices(len(split)):
        sample = split[index]
        prediction_HW = segmenter.label(sample.image_HWC[None].copy())[0]  # torch wants to write
        key = split.records[index].key
        rows.append(_row(key, sample.image_HWC, sample.label_HW, prediction_HW, classes))
    return rows


def _row(
    key: str,
    image_HWC: NDArray[np.uint8],
    label_HW: NDArray[np.uint8],
    prediction_HW: NDArray[np.uint8],
    classes: ClassTable,
) -> Row:
    valid_HW = label_HW != classes.ignore_index
    wrong_HW = valid_HW & (label_HW != prediction_HW)
    correct = 1 - float(wrong_HW.sum()) / max(int(valid_HW.sum()), 1)
    palette = np.full((256, 3), _IGNORED, dtype=np.uint8)
    palette[: classes.num_classes] = classes.palette
    grey_HWC = np.repeat(image_HWC.mean(axis=2, keepdims=True) * 0.5 + 110, 3, axis=2)
    error_HWC = np.where(wrong_HW[..., None], _WRONG, grey_HWC)
    error_HWC = np.where(valid_HW[..., None], error_HWC, _IGNORED).astype(np.uint8)
    return Row(
        key=key,
        correct=correct,
        panels=(
            Panel("picture", _uri(image_HWC), f"Picture {key} of val"),
            Panel("truth", _uri(palette[label_HW]), f"True classes of {key}, in colours"),
            Panel("prediction", _uri(palette[prediction_HW]), f"Classes that were found in {key}"),
            Panel("error", _uri(error_HWC), f"{1 - correct:.1%} of {key} is wrong, in orange"),
        ),
    )


def _uri(picture_HWC: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(picture_HWC)
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", lossless=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
