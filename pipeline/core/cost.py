"""What an architecture costs, in closed form: parameters and multiply-accumulates.

Source: the authors' model/CGNet.py, counted layer by layer. Every convolution is without bias;
a batch norm has two parameters a channel and a PReLU one, so the pair costs three.
"""

from typing import Any

from pipeline.core.architecture import Architecture

_IMAGE = 3  # channels of the picture, injected before stages 2 and 3


def count_parameters(architecture: Architecture) -> int:
    """Return the number of trainable parameters of the built network, exactly."""
    a = architecture
    return int(
        parameter_formula(
            a.num_classes, a.num_blocks_2, a.num_blocks_3, *a.widths, a.reduction_2, a.reduction_3
        )
    )


def parameter_formula(
    k: Any, m: Any, n: Any, c1: Any, c2: Any, c3: Any, r2: Any, r3: Any
) -> Any:  # ints, or numpy arrays of them that broadcast: one formula for one network and a space
    """Return the parameters of networks with k classes, m and n blocks, widths and reductions."""
    stem = 18 * c1 * c1 + (9 * _IMAGE + 9) * c1
    fuse = 3 * (c1 + _IMAGE) + 3 * (2 * c2 + _IMAGE) + 3 * 2 * c3
    stage_2 = _down(c1 + _IMAGE, c2, r2) + (m - 1) * _residual(c2, r2)
    stage_3 = _down(2 * c2 + _IMAGE, c3, r3) + (n - 1) * _residual(c3, r3)
    return stem + fuse + stage_2 + stage_3 + 2 * c3 * k


def _down(a: Any, c: Any, r: Any) -> Any:
    """3x3 entry, two depthwise 3x3, norm over both, 1x1 reduction, global context."""
    return 9 * a * c + 3 * c + 18 * c + 6 * c + 2 * c * c + _global_context(c, r)


def _residual(c: Any, r: Any) -> Any:
    """1x1 entry to half, two depthwise 3x3, norm over both, global context."""
    half = c // 2
    return c * half + 3 * half + 18 * half + 3 * c + _global_context(c, r)


def _global_context(c: Any, r: Any) -> Any:
    hidden = c // r
    return 2 * c * hidden + hidden + c


def count_macs(architecture: Architecture, height: int, width: int) -> int:
    """Return the multiply-accumulates of convolutions and linear layers for one picture.

    Args:
        architecture: the network.
        height: of the input picture, pixels.
        width: of the input picture, pixels.
    """
    a = architecture
    c1, c2, c3 = a.widths
    half, quarter, eighth = (_area(height, width, halvings) for halvings in (1, 2, 3))
    stem = half * 9 * (_IMAGE * c1 + 2 * c1 * c1)
    stage_2 = _down_macs(c1 + _IMAGE, c2, a.reduction_2, quarter)
    stage_2 += (a.num_blocks_2 - 1) * _residual_macs(c2, a.reduction_2, quarter)
    stage_3 = _down_macs(2 * c2 + _IMAGE, c3, a.reduction_3, eighth)
    stage_3 += (a.num_blocks_3 - 1) * _residual_macs(c3, a.reduction_3, eighth)
    return stem + stage_2 + stage_3 + eighth * 2 * c3 * a.num_classes


def _area(height: int, width: int, halvings: int) -> int:
    """Return the pixels left after stride-2 layers that round up."""
    scale = 1 << halvings
    return -(-height // scale) * -(-width // scale)


def _down_macs(a: int, c: int, r: int, area: int) -> int:
    return area * (9 * a * c + 18 * c + 2 * c * c) + 2 * c * (c // r)


def _residual_macs(c: int, r: int, area: int) -> int:
    half = c // 2
    return area * (c * half + 18 * half) + 2 * c * (c // r)
