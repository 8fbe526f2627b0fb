"""What PyTorch computes slowly on a CPU, done by ways that are fast there.

Each gives what its twin in ``torch.nn`` gives, and a layer is one to state dicts and to
``isinstance``; on other devices, and in an exported graph, the twin itself runs.

B batch, C channels, H height, W width, D dilation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

_WIDEST = 6  # oneDNN's vector code for channel-wise convolutions pads no further


class PReLU(nn.PReLU):
    """PReLU with one slope a channel; its gradient takes an eighth of the twin's time.

    The twin's backward takes one element after the other; these are five vector operations.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W) of the same."""
        if not (_on_cpu(input) and torch.is_grad_enabled()):
            return super().forward(input)
        return _prelu(input, self.weight)


class DepthwiseConv2d(nn.Conv2d):
    """A 3x3 convolution of each channel for itself that keeps the picture's size."""

    def __init__(self, channels: int, dilation: int, bias: bool = False) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size=3,
            padding=dilation,
            dilation=dilation,
            groups=channels,
            bias=bias,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W) of the same."""
        dilation = self.dilation[0]
        if dilation == 1 or not _on_cpu(input):
            return super().forward(input)
        if not torch.is_grad_enabled():
            return _depthwise(input, self.weight, dilation, self.bias)
        out = _dilated_depthwise(input, self.weight, dilation)
        return out if self.bias is None else out + self.bias[:, None, None]


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that always goes through oneDNN.

    Its twin is a matrix product where the number of filters is odd to it, such as the 30 of 64
    that compaction left, and takes up to twice as long.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, kernel_size=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, outputs, H, W) of (B, inputs, H, W)."""
        if torch.is_grad_enabled() or not _on_cpu(input) or not _single(input, self.weight):
            return super().forward(input)
        out: Tensor = torch.ops.aten.mkldnn_convolution(
            input, self.weight, self.bias, (0, 0), (1, 1), (1, 1), 1
        )
        return out


def upsample(x_BCHW: Tensor, size: torch.Size) -> Tensor:
    """Return (B, C, *size) by bilinear interpolation that aligns the pictures' outer edges.

    In training on a CPU it is two matrix products: with its loss it takes two thirds of the time.
    """
    if not (_on_cpu(x_BCHW) and torch.is_grad_enabled()) or torch.is_autocast_enabled("cpu"):
        return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False)
    rows_hH, columns_wW = (
        F.interpolate(torch.eye(old, dtype=x_BCHW.dtype)[None], size=new, mode="linear")[0]
        for old, new in zip(x_BCHW.shape[2:], size, strict=True)
    )
    return rows_hH.mT @ (x_BCHW.contiguous() @ columns_wW)


def _on_cpu(x: Tensor) -> bool:
    """Return whether to compute here and now: a graph is for runtimes with ways of their own."""
    return x.device.type == "cpu" and not torch.compiler.is_exporting()


def _single(*tensors: Tensor) -> bool:
    return all(x.dtype == torch.float32 for x in tensors) and torch.backends.mkldnn.is_available()


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, slope_C: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCHW, slope_C)
        return F.prelu(x_BCHW, slope_C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        x_BCHW, slope_C = (saved.to(grad_BCHW.dtype) for saved in ctx.saved_tensors)
        above_BCHW = torch.ops.aten.threshold_backward(grad_BCHW, x_BCHW, 0)
        below_BCHW = grad_BCHW - above_BCHW
        grad_x_BCHW = above_BCHW.addcmul_(below_BCHW, slope_C[:, None, None])
        return grad_x_BCHW, below_BCHW.mul_(x_BCHW).sum((0, 2, 3))


_prelu: Callable[[Tensor, Tensor], Tensor] = _PReLU.apply


class _DilatedDepthwise(torch.autograd.Function):
    """Both gradients by ways that oneDNN has vector code for, unlike those of a dilated one.

    That of the input is the convolution with the mirrored kernel. That of the weight is the one of
    an undilated convolution over the D x D pictures that take every D-th pixel.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight_C133: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight_C133)
        ctx.dilation = dilation
        return _depthwise(x_BCHW, weight_C133, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor, Tensor, None]:
        # Under autocast the gradient is less precise than what was given.
        x_BCHW, weight_C133 = (saved.to(grad_BCHW.dtype) for saved in ctx.saved_tensors)
        grad_x_BCHW = _depthwise(grad_BCHW, weight_C133.flip(2, 3), ctx.dilation)
        grad_weight_C133 = conv2d_weight(
            _every(x_BCHW, ctx.dilation),
            weight_C133.shape,
            _every(grad_BCHW, ctx.dilation),
            padding=1,
            groups=weight_C133.shape[0],
        )
        return grad_x_BCHW, grad_weight_C133, None


_dilated_depthwise: Callable[[Tensor, Tensor, int], Tensor] = _DilatedDepthwise.apply


def _depthwise(
    x_BCHW: Tensor, weight_C133: Tensor, dilation: int, bias_C: Tensor | None = None
) -> Tensor:
    channels, (height, width) = weight_C133.shape[0], x_BCHW.shape[2:]
    if dilation <= _WIDEST:
        return F.conv2d(x_BCHW, weight_C133, bias_C, 1, dilation, dilation, channels)
    pixels = F.conv2d(_every(x_BCHW, dilation), weight_C133, bias_C, padding=1, groups=channels)
    return _joined(pixels, dilation)[:, :, :height, :width]


def _every(x_BCHW: Tensor, dilation: int) -> Tensor:
    """Return the pictures of every D-th pixel, (B * D * D, C, ceil(H / D), ceil(W / D)).

    Zeros fill the last row and column: to a convolution they are more of its padding.
    """
    batch, channels, height, width = x_BCHW.shape
    rows, columns = -(-height // dilation), -(-width // dilation)
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    x_BHWC = F.pad(x_BHWC, (0, 0, 0, columns * dilation - width, 0, rows * dilation - height))
    split = x_BHWC.reshape(batch, rows, dilation, columns, dilation, channels)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)


def _joined(x_BCHW: Tensor, dilation: int) -> Tensor:
    """Return what ``_every`` took apart, its last rows and columns included."""
    channels, rows, columns = x_BCHW.shape[1:]
    split = x_BCHW.permute(0, 2, 3, 1).reshape(-1, dilation, dilation, rows, columns, channels)
    return (
        split.permute(0, 3, 1, 4, 2, 5)
        .reshape(-1, rows * dilation, columns * dilation, channels)
        .permute(0, 3, 1, 2)
    )
