"""DeepLabv3: a residual network at a sixteenth of the size, then atrous spatial pyramid pooling.

Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation" (arXiv
1706.05587): section 3.2.1 (multi-grid 1, 2, 4), section 3.3 (rates 6, 12, 18 at stride 16, and the
image-level features).

What differs from the paper:
- The backbone has two-convolution blocks and 10 to 80 channels, in place of ResNet-101 with 256
  to 2048, and nothing is pretrained: the whole network is to be of CGNet's size.
- The pyramid has 40 channels a branch, not 256.
- The image-level branch has a bias, no batch norm: of a batch's pooled features there are too few.

B batch, C channels, H height, W width, K classes.
"""

import torch
from torch import Tensor, nn

from pipeline.learning.operators import upsample
from pipeline.learning.peers.residual import conv_norm_relu, residual_stage

_WIDTH = 10
_PYRAMID = 40
_RATES = (6, 12, 18)


class AtrousPyramid(nn.Module):
    """ASPP: 1x1, three dilated 3x3, and the mean of the whole picture, joined by a 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(inputs, outputs, 1),
                *(conv_norm_relu(inputs, outputs, dilation=rate) for rate in _RATES),
            ]
        )
        self.image_level = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1), nn.ReLU()
        )
        self.project = conv_norm_relu((len(_RATES) + 2) * outputs, outputs, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        parts = [branch(x_BCHW) for branch in self.branches]
        parts.append(self.image_level(x_BCHW).expand(-1, -1, *x_BCHW.shape[2:]))
        out: Tensor = self.project(torch.cat(parts, dim=1))
        return out


class DeepLabV3(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        w = _WIDTH
        self.backbone = nn.Sequential(
            conv_norm_relu(3, w, stride=2),
            conv_norm_relu(w, w),
            nn.MaxPool2d(3, stride=2, padding=1),
            residual_stage(w, w),
            residual_stage(w, 2 * w, stride=2),
            residual_stage(2 * w, 4 * w, stride=2),
            residual_stage(4 * w, 8 * w, dilations=(2 * 1, 2 * 2, 2 * 4)),
        )
        self.pyramid = AtrousPyramid(8 * w, _PYRAMID)
        self.classifier = nn.Conv2d(_PYRAMID, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logits = self.classifier(self.pyramid(self.backbone(image_BCHW)))
        return upsample(logits, image_BCHW.shape[2:])
