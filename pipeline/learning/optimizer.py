"""The optimizer of a training: Adam, and which weights decay in which way."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pipeline.core.config import TrainConfig


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam for all parameters of a network, with the decay that the training asks for.

    L2 goes through Adam, as in the authors' code: it is part of the gradient, and what Adam divides
    by is small where the loss asks for nothing, so that there it wins and takes a filter to zero.
    AdamW shrinks the weights of convolutions by the same share a step, which leaves none at zero;
    scales, shifts and slopes are left alone.
    """
    rate, decay = training.learning_rate, training.weight_decay
    if training.decay == "adamw":
        groups = _apart(model, [p for p in model.parameters() if p.ndim > 1], decay)
        return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)
    if training.decay == "l2":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    scales = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.optim.Adam(_apart(model, scales, decay), lr=rate, fused=True)


def _apart(
    model: nn.Module, decaying: Sequence[nn.Parameter], decay: float
) -> list[dict[str, Any]]:
    """Return groups of the parameters that decay and of all others."""
    ids = {id(p) for p in decaying}
    others = [p for p in model.parameters() if id(p) not in ids]
    return [{"params": decaying, "weight_decay": decay}, {"params": others}]
