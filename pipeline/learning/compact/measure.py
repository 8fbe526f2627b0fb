"""Two networks beside each other: do they say the same, and how long does each take."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Of logits; float32 holds seven digits, so logits beyond 10 are held to a share of themselves.
TOLERANCE = 1e-4
_SHARE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How far the logits of two networks are apart, and how often their labels differ.

    Attributes:
        difference: the greatest.
        greatest: absolute value of any logit of the first network.
        labels_differing: pixels that get another label.
        pixels: that were compared.
    """

    difference: float
    greatest: float
    labels_differing: int
    pixels: int

    @property
    def is_close(self) -> bool:
        """Return whether the logits agree; not if one is no number."""
        return self.difference <= self.allowed

    @property
    def allowed(self) -> float:
        """Return how far apart logits of this size may be."""
        return max(TOLERANCE, _SHARE * self.greatest)


@torch.inference_mode()
def compare(one: nn.Module, other: nn.Module, pictures: list[Tensor]) -> Agreement:
    """Compare two networks in evaluation on batches (B, 3, H, W) of normalised pictures."""
    apart, sizes, differing, pixels = [], [], 0, 0
    for image_BCHW in pictures:
        first, second = one(image_BCHW), other(image_BCHW)
        apart.append((first - second).abs().max())
        sizes.append(first.abs().max())
        differs = first.argmax(1) != second.argmax(1)
        differing += int(differs.sum())
        pixels += differs.numel()
    difference, greatest = (float(torch.stack(values).max()) for values in (apart, sizes))
    return Agreement(difference, greatest, differing, pixels)


def random_pictures(sizes: tuple[tuple[int, int], ...], seed: int) -> list[Tensor]:
    """Return a picture (1, 3, H, W) of 0..255 for each size: patches of colour under noise."""
    chance = torch.Generator().manual_seed(seed)
    pictures = []
    for height, width in sizes:
        patches = 255 * torch.rand(1, 3, 8, 8, generator=chance)
        noise = 20 * torch.randn(1, 3, height, width, generator=chance)
        pictures.append((F.interpolate(patches, (height, width)) + noise).clamp(0, 255))
    return pictures


@torch.inference_mode()
def latencies(
    models: tuple[nn.Module, ...],
    image_BCHW: Tensor,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Return the median seconds of a forward pass of each network, measured in turns."""
    seconds: list[list[float]] = [[] for _ in models]
    for run in range(runs + 1):
        for model, taken in zip(models, seconds, strict=True):
            started = clock()
            model(image_BCHW)
            if run:  # the first one warms up
                taken.append(clock() - started)
    return tuple(map(statistics.median, seconds))
