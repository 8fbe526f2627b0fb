"""CGNet, built from an ``Architecture``.

Source: Wu et al., "CGNet: A Light-weight Context Guided Network for Semantic Segmentation"
(arXiv 1811.08201), with the details of the authors' model/CGNet.py where the text leaves room: the
picture is injected at 1/2 and 1/4, the downsampling block enters through a full 3x3 convolution,
and a residual block has no 1x1 convolution after its channel-wise ones, unless the architecture
asks for it.

B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.architecture import Architecture
from pipeline.learning.depthwise import DepthwiseConv2d
from pipeline.learning.norm_act import norm_act
from pipeline.learning.operators import (
    PointwiseConv2d,
    PReLU,
    upsample,
)

_IMAGE = 3


class NormAct(nn.Module):
    """Batch norm, then the activation: a PReLU with one slope a channel, or a ReLU.

    What is given in parts is put side by side.
    """

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-3)
        self.act = _activation(activation, channels)

    def forward(self, *parts_BCHW: Tensor) -> Tensor:
        return norm_act(self.norm, self.act, *parts_BCHW)


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, activation."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int, activation: str
    ) -> None:
        super().__init__()
        self.conv = (
            PointwiseConv2d(inputs, outputs)
            if kernel == 1
            else nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = _activation(activation, outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return norm_act(self.norm, self.act, self.conv(x_BCHW))


class GlobalContext(nn.Module):
    """F_glo: weigh the channels by what the whole picture holds (section III-A)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the channels' weights, (B, C, 1, 1)."""
        # The gradient of mean() is written out over all pixels, that of sum() is not.
        mean_BC = x_BCHW.sum(dim=(2, 3)) / (x_BCHW.shape[2] * x_BCHW.shape[3])
        gate_BC = torch.sigmoid(self.excite(F.relu(self.squeeze(mean_BC))))
        return gate_BC[:, :, None, None]


class LocalAndSurround(nn.Module):
    """F_loc beside F_sur, joined by F_joi: twice the channels come out."""

    def __init__(self, a: Architecture, channels: int, dilation: int) -> None:
        super().__init__()
        self.local = DepthwiseConv2d(channels, 1)
        self.surround = DepthwiseConv2d(channels, dilation)
        self.mix_local = _pointwise(channels) if a.pointwise else nn.Identity()
        self.mix_surround = _pointwise(channels) if a.pointwise else nn.Identity()
        self.joint = NormAct(2 * channels, a.activation)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        local = self.mix_local(self.local(x_BCHW))
        surround = self.mix_surround(self.surround(x_BCHW))
        out: Tensor = self.joint(local, surround)
        return out


class DownBlock(nn.Module):
    """The context guided block that opens a stage: halves the picture, no residual."""

    def __init__(
        self, a: Architecture, inputs: int, outputs: int, *, dilation: int, hidden: int
    ) -> None:
        super().__init__()
        self.entry = ConvNormAct(inputs, outputs, kernel=3, stride=2, activation=a.activation)
        self.context = LocalAndSurround(a, outputs, dilation)
        self.reduce = PointwiseConv2d(2 * outputs, outputs)
        self.gate = GlobalContext(outputs, hidden) if hidden else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.reduce(self.context(self.entry(x_BCHW)))
        return out if self.gate is None else out * self.gate(out)


class ResidualBlock(nn.Module):
    """The context guided block; its input is added as the architecture's residual says."""

    def __init__(self, a: Architecture, channels: int, *, dilation: int, hidden: int) -> None:
        super().__init__()
        self.residual = a.residual
        half = channels // 2
        self.entry = ConvNormAct(channels, half, kernel=1, stride=1, activation=a.activation)
        self.context = LocalAndSurround(a, half, dilation)
        self.gate = GlobalContext(channels, hidden) if hidden else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.context(self.entry(x_BCHW))
        if self.residual == "local":
            out = x_BCHW + out
        if self.gate is None:
            return x_BCHW + out if self.residual == "global" else out
        gate = self.gate(out)
        return torch.addcmul(x_BCHW, out, gate) if self.residual == "global" else out * gate


class Stage(nn.Module):
    """A downsampling block and its residual blocks; gives the first's output and the last's."""

    def __init__(
        self,
        a: Architecture,
        inputs: int,
        channels: int,
        *,
        dilations: Sequence[int],
        hidden: int,
    ) -> None:
        super().__init__()
        self.down = DownBlock(a, inputs, channels, dilation=dilations[0], hidden=hidden)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(a, channels, dilation=dilation, hidden=hidden)
                for dilation in dilations[1:]
            )
        )

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        first = self.down(x_BCHW)
        return first, self.blocks(first)


class CGNet(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        c1, c2, c3 = a.widths
        self.input_injection = a.input_injection
        image = _IMAGE if a.input_injection else 0
        self.stem = nn.Sequential(
            ConvNormAct(_IMAGE, c1, kernel=3, stride=2, activation=a.activation),
            ConvNormAct(c1, c1, kernel=3, stride=1, activation=a.activation),
            ConvNormAct(c1, c1, kernel=3, stride=1, activation=a.activation),
        )
        self.fuse_1 = NormAct(c1 + image, a.activation)
        self.stage_2 = Stage(a, c1 + image, c2, dilations=a.block_dilations_2, hidden=a.hidden_2)
        self.fuse_2 = NormAct(2 * c2 + image, a.activation)
        self.stage_3 = Stage(
            a, 2 * c2 + image, c3, dilations=a.block_dilations_3, hidden=a.hidden_3
        )
        self.fuse_3 = NormAct(2 * c3, a.activation)
        self.classifier = PointwiseConv2d(2 * c3, a.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        half, quarter = self._injections(image_BCHW)
        x = self.fuse_1(self.stem(image_BCHW), *half)
        first, last = self.stage_2(x)
        x = self.fuse_2(last, first, *quarter)
        first, last = self.stage_3(x)
        logits = self.classifier(self.fuse_3(first, last))
        return upsample(logits, image_BCHW.shape[2:])

    def _injections(self, image_BCHW: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return what goes beside the features at half and at quarter size."""
        if not self.input_injection:
            return [], []
        half = _halve(image_BCHW)
        return [half], [_halve(half)]


def _activation(name: str, channels: int) -> nn.Module:
    return PReLU(channels) if name == "prelu" else nn.ReLU()


def _pointwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel_size=1, bias=False)


def _halve(image_BCHW: Tensor) -> Tensor:
    """Input injection: the border counts its padding, as in the authors' code."""
    return F.avg_pool2d(image_BCHW, kernel_size=3, stride=2, padding=1)
