"""A channel-wise 3x3 convolution that is fast on a CPU, also where it is dilated.

B batch, C channels, H height, W width, D dilation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pipeline.learning.operators import on_cpu

_WIDEST = 6  # oneDNN's vector code for channel-wise convolutions pads no further


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
        if dilation == 1 or not on_cpu(input):
            return super().forward(input)
        if not torch.is_grad_enabled():
            return _convolved(input, self.weight, dilation, self.bias)
        if self.weight.dtype != torch.float32:
            return super().forward(input)
        out = _depthwise(input, self.weight, dilation)
        return out if self.bias is None else out + self.bias[:, None, None]


class _Depthwise(torch.autograd.Function):
    """Where it is dilated, oneDNN's gradients take three to four times as long as these loops."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight_C133: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight_C133)
        ctx.dilation = dilation
        return _convolved(x_BCHW, weight_C133, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor, Tensor, None]:
        # Training alone needs numba, and importing it takes a second.
        from pipeline.learning import compiled, depthwise_kernels

        x_BCHW, weight_C133 = ctx.saved_tensors
        of_x_BCHW = torch.empty(x_BCHW.shape, memory_format=torch.channels_last)
        of_weight_C33 = depthwise_kernels.backward(
            _rows(x_BCHW),
            _rows(grad_BCHW),
            weight_C133.detach()[:, 0].numpy(),
            ctx.dilation,
            _rows(of_x_BCHW),
            compiled.num_threads(),
        )
        # In the order that DDP has for the weights of a training.
        of_weight_C133 = torch.from_numpy(of_weight_C33)[..., None].permute(0, 3, 1, 2)
        return of_x_BCHW.to(x_BCHW.dtype), of_weight_C133, None


_depthwise: Callable[[Tensor, Tensor, int], Tensor] = _Depthwise.apply


def _rows(x_BCHW: Tensor) -> Any:
    """Return (B, H, W, C) in float32, the same memory where it is so already."""
    x_BHWC = x_BCHW.detach().float().permute(0, 2, 3, 1)
    return x_BHWC.contiguous().numpy()


def _convolved(
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
