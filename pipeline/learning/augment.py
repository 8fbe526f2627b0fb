"""Training pictures: scaled, cropped, flipped, mixed; every draw a function of seed and epoch.

Views are made of bytes, not of floats: a quarter of the memory to move, and Pillow's resampling
lets other threads run. C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.learning.decoding import Sample

_SCALE_STEP = 0.1  # the authors' 16 scales: 0.5, 0.6, ... 2.0


def augment(
    sample: Sample,
    draw: np.random.Generator,
    *,
    scale_range: tuple[float, float],
    fill: Sequence[float],
    ignore_index: int,
) -> Sample:
    """Return a training view of the same size as the picture.

    Args:
        sample: what is viewed.
        draw: source of chance for this one view.
        scale_range: least and greatest enlargement.
        fill: colour of the padding that a scale below 1 leaves right and below; the mean colour,
            which is 0 to the network.
        ignore_index: label of the padding.
    """
    height, width = sample.label_HW.shape
    low, high = scale_range
    scale = low + _SCALE_STEP * draw.integers(round((high - low) / _SCALE_STEP) + 1)
    # Cutting before scaling gives the authors' scale-then-crop without scaling what is cut away.
    cut_height, cut_width = (min(n, math.ceil(n / scale)) for n in (height, width))
    top = int(draw.integers(height - cut_height + 1))
    left = int(draw.integers(width - cut_width + 1))
    step = -1 if draw.integers(2) else 1
    box = (left, top, left + cut_width, top + cut_height)
    size = min(width, round(cut_width * scale)), min(height, round(cut_height * scale))
    image_HWC = np.full((height, width, 3), np.rint(fill), dtype=np.uint8)
    label_HW = np.full((height, width), ignore_index, dtype=np.uint8)
    for pixels, source, resampling in (
        (image_HWC, sample.image_HWC, Image.Resampling.BILINEAR),
        (label_HW, sample.label_HW, Image.Resampling.NEAREST),
    ):
        scaled = Image.fromarray(source).resize(size, resampling, box)
        pixels[: size[1], : size[0]] = np.asarray(scaled)[:, ::step]
    return Sample(image_HWC, label_HW)


def mixed(
    sample: Sample, other: Sample, draw: np.random.Generator, *, share: float, ignore_index: int
) -> Sample:
    """Return a picture with half the classes of another laid over it, or else as it is.

    ClassMix (Olsson et al., WACV 2021, algorithm 1), with true labels in place of predicted ones.

    Args:
        sample: what is laid over.
        other: of the same size.
        draw: source of chance for this one picture.
        share: of the pictures, 0 to 1, to which it happens.
        ignore_index: a label that is no class and stays where it is.
    """
    if draw.random() >= share:
        return sample
    classes = np.flatnonzero(np.bincount(other.label_HW.ravel(), minlength=256))
    classes = classes[classes != ignore_index]
    is_chosen = np.zeros(256, dtype=np.bool_)
    is_chosen[draw.permutation(classes)[: (len(classes) + 1) // 2]] = True
    is_over_HW = is_chosen[other.label_HW]
    return Sample(
        np.where(is_over_HW[:, :, None], other.image_HWC, sample.image_HWC),
        np.where(is_over_HW, other.label_HW, sample.label_HW),
    )
