"""What an architecture costs, in closed form: parameters and multiply-accumulates.

Source: the authors' model/CGNet.py, counted layer by layer. Every convolution is without bias;
a batch norm has two parameters a channel and a PReLU one, so the pair costs three; ReLU has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from pipeline.core.architecture import Architecture

_IMAGE = 3  # channels of the picture, injected before stages 2 and 3
_C1, _C2, _C3 = map(itemgetter, range(3))

# Gives a field of an architecture, read by a function: a whole number, or an array of one for
# each of many architectures. One formula serves a network and a space.
Column = Callable[[str, Callable[[Any], int]], Any]


def count_parameters(architecture: Architecture) -> int:
    """Return the number of trainable parameters of the built network, exactly."""
    return int(
        parameter_formula(
            architecture.num_classes, lambda name, read: read(getattr(architecture, name))
        )
    )


def parameter_formula(num_classes: int, column: Column) -> Any:
    """Return the parameters of the networks whose fields ``column`` gives."""
    c1, c2, c3 = (column("widths", width) for width in (_C1, _C2, _C3))
    image = _IMAGE * column("input_injection", int)
    block = _Block(
        norm=2 + column("activation", _has_slope),
        gate=column("global_context", int),
        mixed=column("pointwise", int),
    )
    hidden_2, hidden_3 = c2 // column("reduction_2", int), c3 // column("reduction_3", int)
    stem = 9 * _IMAGE * c1 + 18 * c1 * c1 + 3 * block.norm * c1
    fuse = block.norm * (c1 + image + 2 * c2 + image + 2 * c3)
    stage_2 = block.down(c1 + image, c2, hidden_2)
    stage_2 += (column("num_blocks_2", int) - 1) * block.residual(c2, hidden_2)
    stage_3 = block.down(2 * c2 + image, c3, hidden_3)
    stage_3 += (column("num_blocks_3", int) - 1) * block.residual(c3, hidden_3)
    return stem + fuse + stage_2 + stage_3 + 2 * c3 * num_classes


def _has_slope(activation: str) -> int:
    return int(activation == "prelu")


@dataclass(frozen=True)
class _Block:
    """Counts a block's parameters; ``gate`` and ``mixed`` are 1 with F_glo and 1x1 after, or 0."""

    norm: Any  # parameters of batch norm and activation, a channel
    gate: Any
    mixed: Any

    def down(self, a: Any, c: Any, hidden: Any) -> Any:
        """3x3 entry, two channel-wise 3x3, norm over both, 1x1 reduction, global context."""
        return 9 * a * c + self.norm * c + self._context(c) + 2 * c * c + self._gate(c, hidden)

    def residual(self, c: Any, hidden: Any) -> Any:
        """1x1 entry to half, two channel-wise 3x3, norm over both, global context."""
        half = c // 2
        return c * half + self.norm * half + self._context(half) + self._gate(c, hidden)

    def _context(self, c: Any) -> Any:
        return 18 * c + 2 * self.mixed * c * c + 2 * self.norm * c

    def _gate(self, c: Any, hidden: Any) -> Any:
        return self.gate * (2 * c * hidden + hidden + c)


def count_macs(architecture: Architecture, height: int, width: int) -> int:
    """Return the multiply-accumulates of convolutions and linear layers for one picture.

    Args:
        architecture: the network.
        height: of the input picture, pixels.
        width: of the input picture, pixels.
    """
    a = architecture
    c1, c2, c3 = a.widths
    image = _IMAGE * a.input_injection
    half, quarter, eighth = (_area(height, width, halvings) for halvings in (1, 2, 3))
    stem = half * 9 * (_IMAGE * c1 + 2 * c1 * c1)
    stage_2 = _down_macs(a, c1 + image, c2, quarter) + 2 * c2 * a.hidden_2 * a.num_blocks_2
    stage_2 += (a.num_blocks_2 - 1) * _residual_macs(a, c2, quarter)
    stage_3 = _down_macs(a, 2 * c2 + image, c3, eighth) + 2 * c3 * a.hidden_3 * a.num_blocks_3
    stage_3 += (a.num_blocks_3 - 1) * _residual_macs(a, c3, eighth)
    return stem + stage_2 + stage_3 + eighth * 2 * c3 * a.num_classes


def _area(height: int, width: int, halvings: int) -> int:
    """Return the pixels left after stride-2 layers that round up."""
    scale = 1 << halvings
    return -(-height // scale) * -(-width // scale)


def _down_macs(a: Architecture, inputs: int, c: int, area: int) -> int:
    return area * (9 * inputs * c + _context_macs(a, c) + 2 * c * c)


def _residual_macs(a: Architecture, c: int, area: int) -> int:
    half = c // 2
    return area * (c * half + _context_macs(a, half))


def _context_macs(a: Architecture, c: int) -> int:
    return 18 * c + 2 * a.pointwise * c * c
