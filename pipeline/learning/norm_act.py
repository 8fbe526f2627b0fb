"""Batch norm and the activation after it, as one operation where a CPU trains.

PyTorch takes two to seven times as long for the pair, and longest where the channels fill no cache
lines, such as 32 + 3. B batch, C channels, H height, W width, P = B * H * W pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def norm_act(norm: nn.Module, act: nn.Module, x_BCHW: Tensor) -> Tensor:
    """Return ``act(norm(x))``, (B, C, H, W), and let batch norm learn its moments."""
    if not _is_fused(norm, act, x_BCHW):
        out: Tensor = act(norm(x_BCHW))
        return out
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum is not None
    slope_C = act.weight if isinstance(act, nn.PReLU) else torch.zeros_like(norm.weight)
    out, mean_C, variance_C = _fused(x_BCHW.float(), norm.weight, norm.bias, slope_C, norm.eps)
    norm.get_buffer("num_batches_tracked").add_(1)
    norm.get_buffer("running_mean").lerp_(mean_C, norm.momentum)
    norm.get_buffer("running_var").lerp_(variance_C, norm.momentum)
    return out.to(x_BCHW.dtype)


def _is_fused(norm: nn.Module, act: nn.Module, x_BCHW: Tensor) -> bool:
    return (
        x_BCHW.device.type == "cpu"
        and torch.is_grad_enabled()
        and isinstance(norm, nn.BatchNorm2d)
        and norm.training
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
        and isinstance(act, nn.PReLU | nn.ReLU)
        and x_BCHW.numel() > x_BCHW.shape[1]  # of one pixel torch says that it has no variance
    )


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_BCHW: Tensor, weight_C: Tensor, bias_C: Tensor, slope_C: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernels, threads = _kernels()
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        out_BCHW = torch.empty_like(x_BCHW)
        given = _pixels(x_BCHW), *(value.detach().numpy() for value in (weight_C, bias_C, slope_C))
        known_5C = torch.from_numpy(kernels.forward(*given, eps, _pixels(out_BCHW), threads))
        ctx.save_for_backward(x_BCHW, known_5C, slope_C)
        mean_C, variance_C, *_ = known_5C
        ctx.mark_non_differentiable(mean_C, variance_C)
        return out_BCHW, mean_C, variance_C

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_BCHW: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        kernels, threads = _kernels()
        x_BCHW, known_5C, slope_C = ctx.saved_tensors
        grad_x_BCHW = torch.empty_like(x_BCHW)
        grad_PC = _pixels(grad_BCHW.contiguous(memory_format=torch.channels_last))
        known = known_5C.numpy(), slope_C.detach().numpy()
        found = kernels.backward(_pixels(x_BCHW), grad_PC, *known, _pixels(grad_x_BCHW), threads)
        bias_C, weight_C, slope_C = torch.from_numpy(found)
        return grad_x_BCHW, weight_C, bias_C, slope_C, None


_fused: Callable[..., tuple[Tensor, Tensor, Tensor]] = _NormAct.apply


def _pixels(x_BCHW: Tensor) -> Any:
    """Return (P, C), the same memory, of a tensor in channels-last order."""
    return x_BCHW.detach().permute(0, 2, 3, 1).flatten(0, 2).numpy()


def _kernels() -> tuple[Any, int]:
    """Return the kernels and how many threads they are to take: as many as PyTorch does."""
    # Training alone needs numba, and importing it takes half a second.
    import numba

    from pipeline.learning import kernels

    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(threads)
    return kernels, threads
