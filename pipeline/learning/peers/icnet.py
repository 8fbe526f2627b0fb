"""ICNet: a deep branch that sees a small picture, shallow ones that see it larger, in cascade.

Source: Zhao et al., "ICNet for Real-Time Semantic Segmentation on High-Resolution Images" (arXiv
1704.08545), figures 2 and 3. As in the authors' network the quarter-size branch goes on from the
half-size one, whose first layers both need.

What differs from the paper:
- Blocks of two convolutions and 16 to 96 channels in place of a halved PSPNet-50, and nothing
  pretrained: the whole network is to be of CGNet's size.
- No cascade label guidance: its two side losses are no part of the recipe the networks share.

B batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.learning.operators import upsample
from pipeline.learning.peers.residual import conv_norm, conv_norm_relu, residual_stage

_FUSED = 56
_BINS = (1, 2, 3, 6)


class CascadeFusion(nn.Module):
    """CFF: the coarser features are doubled and dilated, the finer ones projected; both added."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.coarse = conv_norm(coarse, outputs, dilation=2)
        self.fine = conv_norm(fine, outputs, 1)

    def forward(self, coarse_BCHW: Tensor, fine_BCHW: Tensor) -> Tensor:
        doubled = _resize(coarse_BCHW, *fine_BCHW.shape[2:])
        return F.relu(self.coarse(doubled) + self.fine(fine_BCHW))


class ICNet(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.branch_full = nn.Sequential(
            conv_norm_relu(3, 16, stride=2),
            conv_norm_relu(16, 16, stride=2),
            conv_norm_relu(16, 32, stride=2),
        )
        self.branch_half = nn.Sequential(
            conv_norm_relu(3, 16, stride=2),
            conv_norm_relu(16, 16),
            nn.MaxPool2d(3, stride=2, padding=1),
            residual_stage(16, 16),
            residual_stage(16, 32, stride=2, dilations=(1,)),
        )
        self.branch_quarter = nn.Sequential(
            residual_stage(32, 32, dilations=(1,)),
            residual_stage(32, 48, dilations=(2, 2)),
            residual_stage(48, 96, dilations=(4, 4)),
        )
        self.narrow = conv_norm_relu(96, _FUSED, 1)
        self.fuse_half = CascadeFusion(_FUSED, 32, _FUSED)
        self.fuse_full = CascadeFusion(_FUSED, 32, _FUSED)
        self.classifier = nn.Conv2d(_FUSED, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        height, width = image_BCHW.shape[2:]
        at_8 = self.branch_full(image_BCHW)
        at_16 = self.branch_half(_resize(image_BCHW, -(-height // 2), -(-width // 2)))
        small = _resize(at_16, -(-at_16.shape[2] // 2), -(-at_16.shape[3] // 2))
        at_32 = self.narrow(_with_pyramid(self.branch_quarter(small)))
        fused = self.fuse_full(self.fuse_half(at_32, at_16), at_8)
        at_4 = _resize(fused, 2 * fused.shape[2], 2 * fused.shape[3])
        return upsample(self.classifier(at_4), image_BCHW.shape[2:])


def _with_pyramid(x_BCHW: Tensor) -> Tensor:
    """Return the features plus their means over 1, 2, 3 and 6 parts a side."""
    height, width = x_BCHW.shape[2:]
    means = (_resize(F.adaptive_avg_pool2d(x_BCHW, bins), height, width) for bins in _BINS)
    return sum(means, start=x_BCHW)


def _resize(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x_BCHW, size=(height, width), mode="bilinear", align_corners=False)
