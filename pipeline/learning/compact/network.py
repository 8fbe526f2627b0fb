"""The network that a ``CompactShape`` describes: an ordinary module that trains and exports.

Its weights have CGNet's names where CGNet has them.

B batch, C channels, S stream channels, H height, W width, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.learning.compact.shape import BlockShape, Channels, CompactShape, StageShape
from pipeline.learning.compact.stream import Select, Write
from pipeline.learning.depthwise import DepthwiseConv2d
from pipeline.learning.operators import PointwiseConv2d, PReLU, upsample

NORM_EPS = 1e-3  # CGNet's
_IMAGE = 3


class NormAct(nn.Module):
    """Batch norm, unless it is part of the convolution before, then PReLU."""

    def __init__(self, channels: int, folded: bool = False) -> None:
        super().__init__()
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(channels, eps=NORM_EPS)
        self.act = PReLU(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(x_BCHW))
        return out


class ConvNormAct(NormAct):
    """Convolution, batch norm, PReLU.

    ``border`` convolves ones: what constant input channels that are gone would have added, which
    zero padding makes another number at the border of a picture than inside it.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, *, border: bool, folded: bool
    ) -> None:
        super().__init__(outputs, folded)
        padding = (kernel - 1) // 2
        self.conv = (
            PointwiseConv2d(inputs, outputs, folded)
            if kernel == 1
            else nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=folded)
        )
        self.border = nn.Conv2d(1, outputs, kernel, stride, padding, bias=False) if border else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.conv(x_BCHW)
        if self.border is not None:
            y_BCHW = y_BCHW + self.border(torch.ones_like(x_BCHW[:1, :1]))
        return super().forward(y_BCHW)


class LocalAndSurround(nn.Module):
    """F_loc on the first channels beside F_sur on the last ones, joined by F_joi.

    Entry channels that were constants are not computed, but they are filtered: zero padding makes
    them uneven.
    """

    def __init__(self, shape: BlockShape, folded: bool) -> None:
        super().__init__()
        self.near = nn.Parameter(torch.zeros(shape.near)) if shape.near else None
        self.far = nn.Parameter(torch.zeros(shape.far)) if shape.far else None
        self.local = DepthwiseConv2d(shape.local, 1, folded) if shape.local else None
        self.surround = (
            DepthwiseConv2d(shape.surround, shape.dilation, folded) if shape.surround else None
        )
        self.unseen = shape.near + shape.entry + shape.far - shape.surround
        self.joint = NormAct(shape.local + shape.surround, folded)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.near is not None:
            x_BCHW = torch.cat((_spread(self.near, x_BCHW), x_BCHW), dim=1)
        if self.far is not None:
            x_BCHW = torch.cat((x_BCHW, _spread(self.far, x_BCHW)), dim=1)
        parts = []
        if self.local is not None:
            parts.append(self.local(x_BCHW[:, : self.local.in_channels]))
        if self.surround is not None:
            parts.append(self.surround(x_BCHW[:, self.unseen :]))
        out: Tensor = self.joint(torch.cat(parts, dim=1))
        return out


class DownBlock(nn.Module):
    """The block that opens a stage and its stream."""

    def __init__(self, stage: StageShape, inputs: int, folded: bool) -> None:
        super().__init__()
        shape = stage.down
        self.entry = ConvNormAct(inputs, shape.entry, 3, 2, border=stage.border, folded=folded)
        self.context = LocalAndSurround(shape, folded)
        self.reduce = PointwiseConv2d(
            shape.local + shape.surround, len(shape.writes), stage.reduce_bias
        )
        self.write = Write(shape, stage.width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.write(self.reduce(self.context(self.entry(x_BCHW))), None)
        return out


class ResidualBlock(nn.Module):
    """A block that adds to its stage's stream."""

    def __init__(self, shape: BlockShape, width: int, folded: bool) -> None:
        super().__init__()
        self.read = Select(shape.reads, width)
        self.entry = ConvNormAct(len(shape.reads), shape.entry, 1, 1, border=False, folded=folded)
        self.context = LocalAndSurround(shape, folded)
        self.write = Write(shape, width)

    def forward(self, stream_BSHW: Tensor) -> Tensor:
        y_BCHW = self.context(self.entry(self.read(stream_BSHW)))
        out: Tensor = self.write(y_BCHW, stream_BSHW)
        return out


class Stage(nn.Module):
    """A downsampling block and its residual blocks; gives the first's output and the last's."""

    def __init__(self, shape: StageShape, folded: bool) -> None:
        super().__init__()
        self.down = DownBlock(shape, len(shape.down.reads), folded)
        self.blocks = nn.Sequential(
            *(ResidualBlock(block, shape.width, folded) for block in shape.blocks)
        )

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        first = self.down(x_BCHW)
        return first, self.blocks(first.clone())  # blocks write in place


class Fuse(NormAct):
    """Some channels of a concatenation, batch norm, PReLU."""

    def __init__(self, channels: Channels, inputs: int) -> None:
        super().__init__(len(channels))
        self.read = Select(channels, inputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(self.read(x_BCHW))


class CompactCGNet(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits, as CGNet does."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        inputs = (_IMAGE, *shape.stem[:2])
        self.stem = nn.Sequential(
            *(
                ConvNormAct(
                    inputs[i],
                    shape.stem[i],
                    3,
                    2 if i == 0 else 1,
                    border=shape.stem_border[i],
                    folded=shape.folded,
                )
                for i in range(3)
            )
        )
        stage_2, stage_3 = shape.stages
        self.fuse_1 = Fuse(stage_2.down.reads, shape.stem[2] + _IMAGE)
        self.stage_2 = Stage(stage_2, shape.folded)
        self.fuse_2 = Fuse(stage_3.down.reads, 2 * stage_2.width + _IMAGE)
        self.stage_3 = Stage(stage_3, shape.folded)
        self.fuse_3 = Fuse(shape.reads, 2 * stage_3.width)
        self.classifier = PointwiseConv2d(
            len(shape.reads), shape.num_classes, shape.classifier_bias
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        half = _halve(image_BCHW)
        x = self.fuse_1(torch.cat((self.stem(image_BCHW), half), dim=1))
        first, last = self.stage_2(x)
        x = self.fuse_2(torch.cat((last, first, _halve(half)), dim=1))
        first, last = self.stage_3(x)
        logits = self.classifier(self.fuse_3(torch.cat((first, last), dim=1)))
        return upsample(logits, image_BCHW.shape[2:])


def _spread(constant_C: Tensor, like_BCHW: Tensor) -> Tensor:
    batch, _, height, width = like_BCHW.shape
    return constant_C[None, :, None, None].expand(batch, -1, height, width)


def _halve(image_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(image_BCHW, kernel_size=3, stride=2, padding=1)
