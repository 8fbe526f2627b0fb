"""Training pictures: scaled, cropped, flipped at random; every draw a function of seed and epoch.

C channels, H height, W width.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.config import TrainConfig

_SCALE_STEP = 0.1  # the authors' 16 scales: 0.5, 0.6, ... 2.0


def augment(
    image_CHW: Tensor,
    label_HW: Tensor,
    config: TrainConfig,
    ignore_index: int,
    draw: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return a training view of the same size as the picture.

    Args:
        image_CHW: float, normalised, so that padding with 0 pads with the mean colour.
        label_HW: uint8 class ids.
        config: gives the range of scales.
        ignore_index: label of the padding that a scale below 1 leaves right and below.
        draw: source of chance for this one view.

    Returns:
        The view and its label, of the sizes of the arguments.
    """
    height, width = label_HW.shape
    low, high = config.scale_range
    scale = low + _SCALE_STEP * draw.integers(round((high - low) / _SCALE_STEP) + 1)
    # Cutting before scaling gives the authors' scale-then-crop without scaling what is cut away.
    cut_height, cut_width = (min(n, math.ceil(n / scale)) for n in (height, width))
    top = int(draw.integers(height - cut_height + 1))
    left = int(draw.integers(width - cut_width + 1))
    window = (slice(top, top + cut_height), slice(left, left + cut_width))
    size = [min(height, round(cut_height * scale)), min(width, round(cut_width * scale))]
    image = F.interpolate(
        image_CHW[:, *window][None], size=size, mode="bilinear", align_corners=False
    )[0]
    label = F.interpolate(label_HW[window][None, None], size=size, mode="nearest-exact")[0, 0]
    if draw.integers(2):
        image, label = image.flip(-1), label.flip(-1)
    padding = (0, width - size[1], 0, height - size[0])
    return F.pad(image, padding), F.pad(label, padding, value=ignore_index)


def normalise(
    image: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Return ``image`` (..., 3, H, W) of 0..255 as float with mean 0 and spread 1 per channel."""
    shape = (3, 1, 1)
    return (image.float() - torch.tensor(mean).view(shape).to(image.device)) / torch.tensor(
        std
    ).view(shape).to(image.device)
