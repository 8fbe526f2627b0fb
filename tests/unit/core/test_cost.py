"""Parameters and multiply-accumulates, against published counts and against the built network."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_macs, count_parameters
from pipeline.learning.cgnet import CGNet

# The authors' code, instantiated: (M, N), parameters with 19 classes, with 11.
PUBLISHED = (
    ((3, 9), 351_058, 349_010),
    ((3, 12), 387_370, 385_322),
    ((3, 15), 423_682, 421_634),
    ((3, 18), 459_994, 457_946),
    ((3, 21), 496_306, 494_258),
    ((6, 12), 399_394, 397_346),
    ((6, 15), 435_706, 433_658),
    ((6, 18), 472_018, 469_970),
)

# The authors' code, 19 classes: (height, width) and 10^9 multiply-accumulates as printed.
MACS = {
    21: {(360, 640): "2.972", (360, 480): "2.229", (512, 1024): "6.762", (1024, 2048): "27.05"},
    15: {(360, 640): "2.770", (360, 480): "2.077", (512, 1024): "6.303", (1024, 2048): "25.21"},
    9: {(360, 640): "2.568", (360, 480): "1.926", (512, 1024): "5.844", (1024, 2048): "23.38"},
}


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    even = st.integers(1, 24).map(lambda n: 2 * n)
    widths = (draw(even), draw(even), draw(even))
    patterns = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
    return Architecture(
        num_classes=draw(st.integers(1, 20)),
        num_blocks_2=draw(st.integers(1, 4)),
        num_blocks_3=draw(st.integers(1, 4)),
        widths=widths,
        dilations_2=draw(patterns),
        dilations_3=draw(patterns),
        reduction_2=draw(st.integers(1, widths[1])),
        reduction_3=draw(st.integers(1, widths[2])),
    )


def build(architecture: Architecture) -> CGNet:
    """Return the network without memory or arithmetic."""
    with torch.device("meta"):
        return CGNet(architecture)


def macs_seen(architecture: Architecture, height: int, width: int) -> int:
    """Count a multiply-accumulate for each use of each weight in a forward pass."""
    seen: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        seen.append(output.numel() * math.prod(weight.shape[1:]))

    model = build(architecture)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, height, width, device="meta"))
    return sum(seen)


@pytest.mark.parametrize("num_classes", [19, 11])
@pytest.mark.parametrize(("blocks", "with_19", "with_11"), PUBLISHED)
def test_parameters_are_the_published_ones(
    blocks: tuple[int, int], with_19: int, with_11: int, num_classes: int
) -> None:
    a = Architecture(num_classes=num_classes, num_blocks_2=blocks[0], num_blocks_3=blocks[1])

    assert count_parameters(a) == {19: with_19, 11: with_11}[num_classes]


@given(architectures())
def test_parameters_are_those_of_the_built_network(architecture: Architecture) -> None:
    built = sum(parameter.numel() for parameter in build(architecture).parameters())

    assert count_parameters(architecture) == built


@pytest.mark.parametrize("num_blocks_3", MACS)
@pytest.mark.parametrize("size", MACS[21], ids=str)
def test_multiply_accumulates_are_the_published_ones(
    num_blocks_3: int, size: tuple[int, int]
) -> None:
    printed = MACS[num_blocks_3][size]
    macs = count_macs(Architecture(num_blocks_3=num_blocks_3), *size)

    assert f"{macs / 1e9:.{len(printed.partition('.')[2])}f}" == printed


@settings(max_examples=40)
@given(architectures(), st.integers(1, 70), st.integers(1, 70))
def test_multiply_accumulates_are_those_of_a_forward_pass(
    architecture: Architecture, height: int, width: int
) -> None:
    assert count_macs(architecture, height, width) == macs_seen(architecture, height, width)
