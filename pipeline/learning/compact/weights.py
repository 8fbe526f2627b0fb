"""A CGNet's weights by name, in double precision, and what its layers do with them in evaluation.

C channels, O output channels, I input channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.learning.compact.network import NORM_EPS

# A weight or a constant of no more than this counts as zero; weights of a convolution after the
# batch norm behind it has scaled them. On activations of size 1 it is less than half the last digit
# of a float32 of size 1. What L2 decay leaves of a dead filter ends far below (1e-40).
THRESHOLD = 1e-8


@dataclass(frozen=True)
class Weights:
    """The tensors of a state dict whose names start alike."""

    state: Mapping[str, Tensor]
    prefix: str = ""

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Weights":
        """Return all weights of a network, as doubles on the CPU."""
        return cls({name: value.detach().cpu().double() for name, value in state.items()})

    def at(self, name: str) -> "Weights":
        """Return the weights of a part."""
        return Weights(self.state, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name]

    def children(self, name: str) -> list["Weights"]:
        """Return the weights of a sequence's members, in order."""
        start = f"{self.prefix}{name}."
        numbers = {
            int(key[len(start) :].split(".")[0]) for key in self.state if key.startswith(start)
        }
        return [self.at(f"{name}.{number}") for number in sorted(numbers)]


@dataclass(frozen=True)
class Affine:
    """A batch norm in evaluation, ``scale * x + shift``, and the PReLU after it."""

    scale_C: Tensor
    shift_C: Tensor
    slope_C: Tensor

    @classmethod
    def of(cls, part: Weights) -> "Affine":
        """Return the ``norm`` and ``act`` of a part."""
        scale_C = part["norm.weight"] / torch.sqrt(part["norm.running_var"] + NORM_EPS)
        shift_C = part["norm.bias"] - part["norm.running_mean"] * scale_C
        return cls(scale_C, shift_C, part["act.weight"])

    def constant(self, input_C: Tensor | float = 0.0) -> Tensor:
        """Return what comes out where a constant goes in."""
        x_C = self.scale_C * input_C + self.shift_C
        return torch.where(x_C < 0, self.slope_C * x_C, x_C)


def links(weight_OI: Tensor, scale_O: Tensor | None = None) -> Tensor:
    """Return which output (O) takes something from which input (I), any tap of the kernel."""
    strength_OI = weight_OI.abs().flatten(2).amax(2) if weight_OI.dim() > 2 else weight_OI.abs()
    if scale_O is not None:
        strength_OI = strength_OI * scale_O.abs()[:, None]
    return strength_OI > THRESHOLD
