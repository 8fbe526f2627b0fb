"""What PyTorch computes slowly on a CPU, done by ways that are fast there.

Each gives what its twin in ``torch.nn`` gives, and a layer is one to state dicts and to
``isinstance``; on other devices, and in an exported graph, the twin itself runs.

B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """PReLU with one slope a channel; its gradient takes an eighth of the twin's time.

    The twin's backward takes one element after the other; these are five vector operations.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W) of the same."""
        if not (on_cpu(input) and torch.is_grad_enabled()):
            return super().forward(input)
        return _prelu(input, self.weight)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution: trained by a single thread a matrix product, else always by oneDNN.

    A single thread takes up to a quarter longer for the gradients of its twin than for those of the
    product; for two the product is no faster. Without gradients its twin is a product where the
    number of filters is odd to it, such as the 30 of 64 that compaction left, and takes up to twice
    as long.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, kernel_size=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, outputs, H, W) of (B, inputs, H, W)."""
        if not on_cpu(input) or not _single(input, self.weight):
            return super().forward(input)
        if not torch.is_grad_enabled():
            out: Tensor = torch.ops.aten.mkldnn_convolution(
                input, self.weight, self.bias, (0, 0), (1, 1), (1, 1), 1
            )
            return out
        if torch.get_num_threads() > 1:
            return super().forward(input)
        # Taken apart in this order, so that its gradient lies in memory as it does.
        weight_OI = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(input.permute(0, 2, 3, 1), weight_OI, self.bias).permute(0, 3, 1, 2)


def upsample(x_BCHW: Tensor, size: torch.Size) -> Tensor:
    """Return (B, C, *size) by bilinear interpolation that aligns the pictures' outer edges.

    In training on a CPU it is two matrix products: with its loss it takes two thirds of the time.
    """
    if not (on_cpu(x_BCHW) and torch.is_grad_enabled()) or torch.is_autocast_enabled("cpu"):
        return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False)
    rows_hH, columns_wW = (
        F.interpolate(torch.eye(old, dtype=x_BCHW.dtype)[None], size=new, mode="linear")[0]
        for old, new in zip(x_BCHW.shape[2:], size, strict=True)
    )
    return rows_hH.mT @ (x_BCHW.contiguous() @ columns_wW)


def on_cpu(x: Tensor) -> bool:
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
