"""Batch norm and the activation after it, as one operation where a CPU trains.

PyTorch takes two to seven times as long for the pair, and longest where the channels fill no cache
lines, such as 32 + 3. B batch, C channels, H height, W width, P = B * H * W pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def norm_act(norm: nn.Module, act: nn.Module, *parts_BCHW: Tensor) -> Tensor:
    """Return ``act(norm(x))`` of parts side by side, (B, all C, H, W).

    In training the norm learns its moments.
    """
    if not all(_is_fused(norm, act, part) for part in parts_BCHW):
        whole = parts_BCHW[0] if len(parts_BCHW) == 1 else torch.cat(parts_BCHW, dim=1)
        out: Tensor = act(norm(whole))
        return out
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum is not None
    slope_C = act.weight if isinstance(act, nn.PReLU) else torch.zeros_like(norm.weight)
    norm.get_buffer("num_batches_tracked").add_(1)
    floats_BCHW = (part.float() for part in parts_BCHW)
    return _fused(norm, norm.weight, norm.bias, slope_C, *floats_BCHW).to(parts_BCHW[0].dtype)


def _is_fused(norm: nn.Module, act: nn.Module, x_BCHW: Tensor) -> bool:
    return (
        x_BCHW.device.type == "cpu"
        and torch.is_grad_enabled()
        and isinstance(norm, nn.BatchNorm2d)
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
        and (isinstance(act, nn.ReLU) or _bends_each(act, norm.num_features))
        and x_BCHW.numel() > x_BCHW.shape[1]  # of one pixel torch says that it has no variance
    )


def _bends_each(act: nn.Module, channels: int) -> bool:
    return isinstance(act, nn.PReLU) and act.num_parameters == channels


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        norm: nn.BatchNorm2d,
        weight_C: Tensor,
        bias_C: Tensor,
        slope_C: Tensor,
        *parts_BCHW: Tensor,
    ) -> Tensor:
        kernels, threads = _kernels()
        parts_BCHW = tuple(_channels_last(part) for part in parts_BCHW)
        batch, _, height, width = parts_BCHW[0].shape
        shape = batch, len(weight_C), height, width
        out_BCHW = torch.empty(shape, memory_format=torch.channels_last)
        moments = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        values_C = tuple(value.detach().numpy() for value in (weight_C, bias_C, slope_C, *moments))
        out_PC, at = _pixels(out_BCHW), 0
        ctx.known = np.empty((kernels.NUM_KNOWN, len(weight_C)), np.float32)
        for part in parts_BCHW:
            kernels.forward(
                _pixels(part), at, values_C, norm.momentum, norm.eps, out_PC, ctx.known, threads
            )
            at += part.shape[1]
        ctx.save_for_backward(slope_C, *parts_BCHW)
        return out_BCHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor | None, ...]:
        kernels, threads = _kernels()
        slope_C, *parts_BCHW = ctx.saved_tensors
        slope, grad_PC, at = slope_C.detach().numpy(), _pixels(_channels_last(grad_BCHW)), 0
        grads_BCHW = [torch.empty_like(part) for part in parts_BCHW]
        found = np.empty((3, len(slope)), np.float32)
        for part, grad in zip(parts_BCHW, grads_BCHW, strict=True):
            pixels = _pixels(part)
            kernels.backward(pixels, grad_PC, at, ctx.known, slope, _pixels(grad), found, threads)
            at += part.shape[1]
        of_bias_C, of_weight_C, of_slope_C = torch.from_numpy(found)
        return None, of_weight_C, of_bias_C, of_slope_C, *grads_BCHW


_fused: Callable[..., Tensor] = _NormAct.apply


def _channels_last(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def _pixels(x_BCHW: Tensor) -> Any:
    """Return (P, C), the same memory, of a tensor in channels-last order."""
    return x_BCHW.detach().permute(0, 2, 3, 1).flatten(0, 2).numpy()


def _kernels() -> tuple[Any, int]:
    """Return the kernels and how many threads they are to take."""
    # Training alone needs numba, and importing it takes a second.
    from pipeline.learning import compiled, norm_act_kernels

    return norm_act_kernels, compiled.num_threads()
