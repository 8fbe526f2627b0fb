"""Batch norm made part of the convolution before it, for deployment."""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.weights import Affine, Weights

_NORM = ".norm.weight"


def fold_batch_norm(network: CompactCGNet) -> CompactCGNet:
    """Return the network with biases instead of norms, in double precision.

    The three norms behind a concatenation stay: there is no convolution before them.
    """
    state = dict(Weights.of(network.state_dict()).state)
    for part in [name.removesuffix(_NORM) for name in state if name.endswith(_NORM)]:
        if part.endswith(".joint"):
            context = part.removesuffix(".joint")
            _fold(state, part, [f"{context}.local", f"{context}.surround"])
        elif not part.startswith("fuse"):
            _fold(state, part, [f"{part}.conv"])
    folded = CompactCGNet(replace(network.shape, folded=True)).double()
    folded.load_state_dict(state)
    return folded


def _fold(state: dict[str, Tensor], part: str, convolutions: list[str]) -> None:
    """Fold the norm of a part into the convolutions that share its channels, in their order."""
    affine = Affine.of(Weights(state, f"{part}."))
    start = 0
    for name in (name for name in convolutions if f"{name}.weight" in state):
        channels = slice(start, start + len(state[f"{name}.weight"]))
        state[f"{name}.weight"] = state[f"{name}.weight"] * _kernel_wise(affine.scale_C[channels])
        state[f"{name}.bias"] = affine.shift_C[channels]
        start = channels.stop
    if (border := f"{part}.border.weight") in state:
        state[border] = state[border] * _kernel_wise(affine.scale_C)
    for name in [name for name in state if name.startswith(f"{part}.norm.")]:
        del state[name]


def _kernel_wise(scale_C: Tensor) -> Tensor:
    return torch.reshape(scale_C, (-1, 1, 1, 1))
