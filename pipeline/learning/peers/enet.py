"""ENet: narrow bottlenecks, an early drop in size, and a small decoder that unpools.

Source: Paszke et al., "ENet: A Deep Neural Network Architecture for Real-Time Semantic
Segmentation" (arXiv 1606.02147), table 1 and section 3.

What differs from the paper:
- No spatial dropout: every network here has the same recipe, and a training that was stopped goes
  on to the bit because nothing random is left to the network.
- A bottleneck that changes the size narrows to a quarter of its inputs (the authors' code: of
  its outputs). So do the re-implementations whose size, 0.36 M, is quoted most.

B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.learning.operators import PReLU

Activation = Callable[[int], nn.Module]  # of so many channels
_STRIDE = 8  # the picture is padded to a multiple: unpooling needs halves that are whole


def _rectifier(channels: int) -> nn.Module:
    """Return the decoder's activation, which learns no slope."""
    return nn.ReLU()


def _unit(conv: nn.Conv2d | nn.ConvTranspose2d, activation: Activation) -> nn.Sequential:
    """Return a convolution, batch norm, activation."""
    channels = conv.out_channels
    return nn.Sequential(conv, nn.BatchNorm2d(channels), activation(channels))


class _Bottleneck(nn.Module):
    """1x1 to a quarter, one convolution or an asymmetric pair, 1x1 back; added to the input."""

    def __init__(
        self,
        channels: int,
        activation: Activation = PReLU,
        *,
        dilation: int = 1,
        asymmetric: bool = False,
    ) -> None:
        super().__init__()
        inner = channels // 4
        if asymmetric:
            middle = nn.Sequential(
                _unit(nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False), activation),
                _unit(nn.Conv2d(inner, inner, (1, 5), padding=(0, 2), bias=False), activation),
            )
        else:
            middle = _unit(
                nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False),
                activation,
            )
        self.branch = nn.Sequential(
            _unit(nn.Conv2d(channels, inner, 1, bias=False), activation),
            middle,
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.act = activation(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.act(x_BCHW + self.branch(x_BCHW))
        return out


class _Down(nn.Module):
    """Halves the picture; gives the places of the maxima for the unpooling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = inputs // 4
        self.branch = nn.Sequential(
            _unit(nn.Conv2d(inputs, inner, 2, stride=2, bias=False), PReLU),
            _unit(nn.Conv2d(inner, inner, 3, padding=1, bias=False), PReLU),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.act = PReLU(outputs)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        pooled, places = F.max_pool2d(x_BCHW, 2, return_indices=True)
        branch = self.branch(x_BCHW)
        missing = branch.shape[1] - pooled.shape[1]
        widened = F.pad(pooled, (0, 0, 0, 0, 0, missing))
        return self.act(widened + branch), places


class _Up(nn.Module):
    """Doubles the picture: values go where the maxima were."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = inputs // 4
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        double = nn.ConvTranspose2d(
            inner, inner, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        self.branch = nn.Sequential(
            _unit(nn.Conv2d(inputs, inner, 1, bias=False), _rectifier),
            _unit(double, _rectifier),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x_BCHW: Tensor, places: Tensor) -> Tensor:
        shortcut = F.max_unpool2d(self.shortcut(x_BCHW), places, [2, 2])
        return F.relu(shortcut + self.branch(x_BCHW))


def _context_stage() -> list[nn.Module]:
    """Return bottlenecks 2.1 to 2.8, which stage 3 repeats."""
    blocks: list[nn.Module] = []
    for dilation in (2, 4, 8, 16):
        # Pairs of a plain or an asymmetric bottleneck and a dilated one, in turn.
        blocks.append(_Bottleneck(128, asymmetric=dilation in {4, 16}))
        blocks.append(_Bottleneck(128, dilation=dilation))
    return blocks


class ENet(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.initial = nn.Conv2d(3, 13, 3, stride=2, padding=1, bias=False)
        self.initial_norm = nn.Sequential(nn.BatchNorm2d(16), PReLU(16))
        self.down_1 = _Down(16, 64)
        self.stage_1 = nn.Sequential(*(_Bottleneck(64) for _ in range(4)))
        self.down_2 = _Down(64, 128)
        self.stage_2 = nn.Sequential(*_context_stage(), *_context_stage())
        self.up_4 = _Up(128, 64)
        self.stage_4 = nn.Sequential(*(_Bottleneck(64, _rectifier) for _ in range(2)))
        self.up_5 = _Up(64, 16)
        self.stage_5 = _Bottleneck(16, _rectifier)
        self.classifier = nn.ConvTranspose2d(
            16, num_classes, 3, stride=2, padding=1, output_padding=1, bias=False
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        height, width = image_BCHW.shape[2:]
        x = F.pad(image_BCHW, (0, -width % _STRIDE, 0, -height % _STRIDE))
        x = self.initial_norm(torch.cat((self.initial(x), F.max_pool2d(x, 2)), dim=1))
        x, places_1 = self.down_1(x)
        x, places_2 = self.down_2(self.stage_1(x))
        x = self.stage_4(self.up_4(self.stage_2(x), places_2))
        x = self.stage_5(self.up_5(x, places_1))
        logits: Tensor = self.classifier(x)
        return logits[:, :, :height, :width]
