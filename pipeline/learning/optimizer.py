"""The optimizer of a training: Adam, and which weights decay in which way."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from pipeline.core.config import TrainConfig


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam for all parameters of a network, with the decay that the training asks for.

    L2 goes through Adam, as in the authors' code: it is part of the gradient, and what Adam divides
    by is small where the loss asks for nothing, so that there it wins and takes a filter to zero.
    AdamW shrinks every weight by the same share a step, which leaves none at zero.
    """
    rate, decay = training.learning_rate, training.weight_decay
    if training.decay == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    if training.decay == "l2":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    scales = list(_norm_scales(model))
    numbers = {id(scale) for scale in scales}
    others: list[nn.Parameter] = [p for p in model.parameters() if id(p) not in numbers]
    groups: list[dict[str, Any]] = [{"params": scales, "weight_decay": decay}, {"params": others}]
    return torch.optim.Adam(groups, lr=rate, fused=True)


def _norm_scales(model: nn.Module) -> Iterable[nn.Parameter]:
    return (m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d))
