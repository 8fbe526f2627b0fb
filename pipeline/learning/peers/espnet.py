"""ESPNet: convolutions taken apart into a pyramid of dilated ones.

Source: Mehta et al., "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
Segmentation" (ECCV 2018, arXiv 1803.06815), sections 3 and 4.1, with alpha_2 = 2 and alpha_3 = 8,
the largest network of the paper.

What differs from the paper:
- Trained in one go: the paper trains the encoder first and puts the decoder on it.
- With fewer than five classes the decoder's module has as many branches as there are classes.

B batch, C channels, H height, W width, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.learning.operators import PReLU

_STRIDE = 8  # the picture is padded to a multiple: the decoder doubles sizes
_BRANCHES = 5


def _norm_act(channels: int) -> nn.Sequential:
    """Return a batch norm, then a PReLU with one slope a channel."""
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3), PReLU(channels))


class _Pyramid(nn.Module):
    """The ESP module: reduce, then dilated convolutions side by side, fused from the second on.

    Each branch but the first is added to the one before it, so that the grid of a wide dilation is
    filled by the narrower ones.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        branches = min(_BRANCHES, outputs)
        inner = outputs // branches
        kernel = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(inputs, inner, kernel, stride, padding=kernel // 2, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(inner, width, 3, padding=2**i, dilation=2**i, bias=False)
            for i, width in enumerate(
                (outputs - (branches - 1) * inner, *(branches - 1) * (inner,))
            )
        )
        self.is_residual = inputs == outputs and stride == 1
        self.norm = _norm_act(outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        reduced = self.reduce(x_BCHW)
        first, *rest = (branch(reduced) for branch in self.branches)
        parts = [first, *rest[:1]]
        for dilated in rest[1:]:
            parts.append(parts[-1] + dilated)
        joined = torch.cat(parts, dim=1)
        out: Tensor = self.norm(x_BCHW + joined if self.is_residual else joined)
        return out


class ESPNet(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, num_classes: int, *, alpha_2: int = 2, alpha_3: int = 8) -> None:
        super().__init__()
        k = num_classes
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), _norm_act(16))
        self.fuse_1 = _norm_act(16 + 3)
        self.down_2 = _Pyramid(16 + 3, 64, stride=2)
        self.stage_2 = nn.Sequential(*(_Pyramid(64, 64) for _ in range(alpha_2)))
        self.fuse_2 = _norm_act(2 * 64 + 3)
        self.down_3 = _Pyramid(2 * 64 + 3, 128, stride=2)
        self.stage_3 = nn.Sequential(*(_Pyramid(128, 128) for _ in range(alpha_3)))
        self.fuse_3 = _norm_act(2 * 128)
        self.project_3 = nn.Sequential(
            nn.Conv2d(2 * 128, k, 1, bias=False), nn.BatchNorm2d(k, eps=1e-3), _double(k)
        )
        self.project_2 = nn.Conv2d(2 * 64 + 3, k, 1, bias=False)
        self.merge_2 = nn.Sequential(_norm_act(2 * k), _Pyramid(2 * k, k), _double(k), _norm_act(k))
        self.merge_1 = nn.Sequential(nn.Conv2d(k + 19, k, 3, padding=1, bias=False), _norm_act(k))
        self.classifier = _double(k)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        height, width = image_BCHW.shape[2:]
        image = F.pad(image_BCHW, (0, -width % _STRIDE, 0, -height % _STRIDE))
        half, quarter = _halve(image), _halve(_halve(image))
        at_2 = self.fuse_1(torch.cat((self.stem(image), half), dim=1))
        first = self.down_2(at_2)
        at_4 = self.fuse_2(torch.cat((self.stage_2(first), first, quarter), dim=1))
        first = self.down_3(at_4)
        at_8 = self.fuse_3(torch.cat((first, self.stage_3(first)), dim=1))
        x = torch.cat((self.project_2(at_4), self.project_3(at_8)), dim=1)
        x = self.merge_1(torch.cat((self.merge_2(x), at_2), dim=1))
        logits: Tensor = self.classifier(x)
        return logits[:, :, :height, :width]


def _double(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)


def _halve(image_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(image_BCHW, kernel_size=3, stride=2, padding=1)
