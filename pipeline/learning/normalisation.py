"""From the bytes of pictures to what a network takes.

Apart from the making of views, so that a served model needs no decoder. H height, W width.
"""

import torch
from torch import Tensor


def normalise(
    image: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Return ``image`` (..., 3, H, W) of 0..255 as float with mean 0 and spread 1 per channel."""
    mean_C11, std_C11 = (torch.tensor(v, device=image.device).view(3, 1, 1) for v in (mean, std))
    return image.float().sub_(mean_C11).div_(std_C11)
