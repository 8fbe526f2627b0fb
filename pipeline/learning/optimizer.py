"""The optimizer of a training: Muon or Adam, and which weights decay in which way."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.config import TrainConfig

_MOMENTUM = 0.95
_QUINTIC = 3.4445, -4.7750, 2.0315  # of x, x^3 and x^5; takes what is in (0, 1] to about 1
_ITERATIONS = 5
_UPDATE = 0.2  # root mean square of Adam's steps, so that one learning rate suits both


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters of a network, with what decays in it.

    L2 goes through Adam, as in the authors' code: it is part of the gradient, and what Adam divides
    by is small where the loss asks for nothing, so that there it wins and takes a filter to zero.
    AdamW and Muon shrink the weights of convolutions and gates by the same share a step, which
    leaves none at zero; scales, shifts and slopes are left alone.
    """
    rate, decay = training.learning_rate, training.weight_decay
    parameters: list[Tensor] = list(model.parameters())
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if training.optimizer == "adam-scales":
        scales = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        parts: list[dict[str, Any]] = [
            {"params": scales, "weight_decay": decay},
            {"params": _but(parameters, scales)},
        ]
        return torch.optim.Adam(parts, lr=rate, fused=True)
    matrices = _matrices(model) if training.optimizer == "muon" else []
    others = _but(parameters, matrices)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": decay, "is_orthogonal": True},
        {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in others if p.ndim <= 1]},
    ]
    return Muon([group for group in groups if group["params"]], lr=rate)


class Muon(torch.optim.AdamW):
    """AdamW, but for groups that are ``is_orthogonal``: those step by a matrix near to U V^T.

    That is of the momentum U S V^T, a weight (outputs, ...) being a matrix with a row for each
    output (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). Steps are as long as
    Adam's (Liu et al., 2025, arXiv:2502.16982, equation 4).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr, weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step, see ``Optimizer.step``; the gradients of orthogonal groups are used up."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            if group.get("is_orthogonal"):
                self._step_orthogonally(group["params"], group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _step_orthogonally(self, weights: list[Tensor], rate: float, decay: float) -> None:
        alike: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in weights:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # Adam asks every state that it loads for its count of steps
                state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(weight))
            momentum = state["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
            matrix = weight.grad.lerp(momentum, _MOMENTUM).reshape(len(weight), -1)
            alike[matrix.shape].append((weight, matrix))
            weight.grad = None  # so that Adam leaves it alone
        for shape, pairs in alike.items():
            length = rate * _UPDATE * math.sqrt(max(shape))
            updates = orthogonal(torch.stack([matrix for _, matrix in pairs]))
            for (weight, _), update in zip(pairs, updates, strict=True):
                weight.mul_(1 - rate * decay).sub_(update.reshape(weight.shape), alpha=length)


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """Return (N, R, C) about U V^T of each U S V^T: every singular value becomes 0.7 to 1.2."""
    is_tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x: Tensor = matrices_NRC.mT if is_tall else matrices_NRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _matrices(model: nn.Module) -> list[Tensor]:
    """Return the weights that map features to features.

    A channel-wise convolution mixes none, and a ``classifier`` is better left to Adam.
    """
    return [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and getattr(module, "groups", 1) == 1
        and not name.startswith("classifier")
    ]


def _but(parameters: Iterable[Tensor], taken: Iterable[Tensor]) -> list[Tensor]:
    ids = set(map(id, taken))
    return [p for p in parameters if id(p) not in ids]
