"""Costs against the published counts, and against the network as it is built."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.architecture import SWITCHES, Architecture
from pipeline.core.cost import count_macs, count_parameters
from pipeline.core.space import load_space, space_names
from pipeline.learning.cgnet import CGNet

# The authors' code, instantiated and counted: (M, N), with 19 classes, with 11.
PUBLISHED = [
    (3, 9, 351_058, 349_010),
    (3, 12, 387_370, 385_322),
    (3, 15, 423_682, 421_634),
    (3, 18, 459_994, 457_946),
    (3, 21, 496_306, 494_258),
    (6, 12, 399_394, 397_346),
    (6, 15, 435_706, 433_658),
    (6, 18, 472_018, 469_970),
]
SIZES = [(360, 640), (360, 480), (680, 680), (512, 1024), (1024, 2048)]
# 1e9 multiply-accumulates at each of SIZES with 19 classes, good to three digits.
PUBLISHED_MACS = {
    (3, 21): (2.972, 2.229, 5.964, 6.762, 27.05),
    (3, 15): (2.770, 2.077, 5.559, 6.303, 25.21),
    (3, 9): (2.568, 1.926, 5.154, 5.844, 23.38),
}


POOLS = {name: load_space(name).pool(11) for name in space_names()}


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    widths = (draw(st.integers(2, 40)), *(2 * draw(st.integers(1, 40)) for _ in range(2)))
    dilations = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)
    return Architecture(
        num_classes=draw(st.integers(1, 30)),
        num_blocks_2=draw(st.integers(1, 4)),
        num_blocks_3=draw(st.integers(1, 4)),
        widths=widths,
        dilations_2=draw(dilations),
        dilations_3=draw(dilations),
        reduction_2=draw(st.integers(1, widths[1])),
        reduction_3=draw(st.integers(1, widths[2])),
        **{name: draw(st.sampled_from(values)) for name, values in SWITCHES.items()},
    )


def build(architecture: Architecture) -> CGNet:
    with torch.device("meta"):
        return CGNet(architecture)


def built_size(architecture: Architecture) -> int:
    return sum(parameter.numel() for parameter in build(architecture).parameters())


def macs_by_hooks(model: CGNet, height: int, width: int) -> int:
    total = 0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model.eval()(torch.empty(1, 3, height, width, device="meta"))
    return total


@pytest.mark.parametrize(("m", "n", "with_19", "with_11"), PUBLISHED)
def test_parameters_are_the_published_counts(m: int, n: int, with_19: int, with_11: int) -> None:
    counts = [
        count_parameters(Architecture(num_classes=k, num_blocks_2=m, num_blocks_3=n))
        for k in (19, 11)
    ]

    assert counts == [with_19, with_11]


@settings(deadline=None, max_examples=60)
@given(architectures())
def test_parameters_are_those_of_the_built_network(architecture: Architecture) -> None:
    assert count_parameters(architecture) == built_size(architecture)


@pytest.mark.parametrize("name", space_names())
@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_a_space_knows_the_sizes_of_its_networks_as_built(name: str, data: st.DataObject) -> None:
    pool = POOLS[name]
    row = data.draw(st.integers(0, len(pool) - 1))

    assert pool.num_params[row] == built_size(pool.architecture(row))


@pytest.mark.parametrize(("blocks", "published"), PUBLISHED_MACS.items())
def test_macs_are_the_published_counts(
    blocks: tuple[int, int], published: tuple[float, ...]
) -> None:
    architecture = Architecture(num_blocks_2=blocks[0], num_blocks_3=blocks[1])
    macs = [count_macs(architecture, *size) for size in SIZES]

    assert [value / 1e9 for value in macs] == pytest.approx(published, rel=5e-4)


@settings(deadline=None, max_examples=20)
@given(architectures(), st.integers(1, 99), st.integers(1, 99))
def test_macs_are_those_of_the_built_network_at_any_size(
    architecture: Architecture, height: int, width: int
) -> None:
    counted = macs_by_hooks(build(architecture), height, width)

    assert count_macs(architecture, height, width) == counted


def test_dilation_costs_nothing() -> None:
    dilated = Architecture(dilations_2=(1, 2, 4), dilations_3=(16,))

    assert count_parameters(dilated) == count_parameters(Architecture())
    assert count_macs(dilated, 360, 480) == count_macs(Architecture(), 360, 480)
