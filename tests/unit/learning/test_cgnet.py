"""The network against what is published of it, and the sizes it takes."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.core.architecture import Architecture
from pipeline.learning.cgnet import CGNet

TINY = Architecture(
    num_classes=3, num_blocks_2=2, num_blocks_3=3, widths=(8, 16, 32), reduction_2=2, reduction_3=4
)


@pytest.fixture(scope="module")
def m3n21() -> CGNet:
    with torch.device("meta"):
        return CGNet(Architecture())


def seeded(architecture: Architecture) -> CGNet:
    torch.manual_seed(0)
    return CGNet(architecture)


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def test_m3n21_has_the_published_layers(m3n21: CGNet) -> None:
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.Linear)

    assert Counter(kind for m in m3n21.modules() for kind in kinds if isinstance(m, kind)) == {
        nn.Conv2d: 78,
        nn.BatchNorm2d: 54,
        nn.PReLU: 54,
        nn.Linear: 48,
    }


@pytest.mark.parametrize(
    ("kind", "count"),
    [(nn.Conv2d, 431_776), (nn.Linear, 49_152), (nn.BatchNorm2d, 10_252), (nn.PReLU, 5_126)],
)
def test_m3n21_spends_its_parameters_as_published(
    m3n21: CGNet, kind: type[nn.Module], count: int
) -> None:
    assert sum(size_of(module) for module in m3n21.modules() if isinstance(module, kind)) == count


def test_m3n21_has_the_published_buffers(m3n21: CGNet) -> None:
    assert sum(buffer.numel() for buffer in m3n21.buffers()) == 10_306


def test_no_convolution_has_a_bias(m3n21: CGNet) -> None:
    convolutions = [module for module in m3n21.modules() if isinstance(module, nn.Conv2d)]

    assert [module.bias for module in convolutions] == [None] * 78


def test_batch_norms_and_slopes_start_as_published() -> None:
    model = CGNet(TINY)
    norms = {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    slopes = {v for m in model.modules() if isinstance(m, nn.PReLU) for v in m.weight.tolist()}

    assert (norms, slopes) == ({1e-3}, {0.25})


def test_convolutions_start_with_the_spread_that_keeps_a_signals() -> None:
    """Kaiming's normal distribution over the fan-in: 131 x 9 inputs to the opening of stage 3."""
    torch.manual_seed(0)
    weight = CGNet(Architecture(num_blocks_3=1)).stage_3.down.entry.conv.weight

    assert weight.shape == (128, 131, 3, 3)
    assert float(weight.detach().std()) == pytest.approx((2 / (131 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("size", [(32, 32), (7, 9), (33, 47), (8, 8), (1, 1)])
def test_logits_have_the_size_of_the_picture(size: tuple[int, int]) -> None:
    logits = seeded(TINY).eval()(torch.randn(2, 3, *size))

    assert logits.shape == (2, 3, *size)


def test_logits_have_the_size_of_a_large_odd_picture() -> None:
    with torch.inference_mode():
        logits = seeded(TINY).eval()(torch.randn(1, 3, 361, 479))

    assert logits.shape == (1, 3, 361, 479)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 2), (2, 1)])
def test_a_stage_may_be_its_downsampling_block_alone(m: int, n: int) -> None:
    architecture = Architecture(num_classes=5, num_blocks_2=m, num_blocks_3=n, widths=(8, 16, 32))

    assert seeded(architecture)(torch.randn(2, 3, 32, 32)).shape == (2, 5, 32, 32)


@pytest.mark.parametrize(
    "architecture",
    [TINY, Architecture(num_classes=3, num_blocks_2=1, num_blocks_3=1, widths=(8, 16, 32))],
    ids=["M2N3", "M1N1"],
)
def test_gradients_reach_every_parameter(architecture: Architecture) -> None:
    model = seeded(architecture)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()

    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_blocks_take_their_dilations_from_the_pattern_in_turn() -> None:
    architecture = Architecture(
        num_blocks_2=2, num_blocks_3=5, dilations_2=(3,), dilations_3=(1, 2, 4), widths=(8, 16, 32)
    )
    model = CGNet(architecture)
    dilations = [
        module.dilation[0]
        for name, module in model.named_modules()
        if name.endswith("context.surround")
    ]

    assert dilations == [3, 3, 1, 2, 4, 1, 2]


def test_a_picture_is_labelled_alike_whatever_its_batch() -> None:
    model = seeded(TINY).eval()
    images = torch.randn(3, 3, 32, 32)

    torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


@pytest.mark.parametrize("stage", ["stage_2", "stage_3"])
def test_a_residual_block_adds_to_its_input(stage: str) -> None:
    block = getattr(seeded(TINY), stage).blocks[0]
    nn.init.zeros_(block.context.joint.norm.weight)
    x = torch.randn(2, block.entry.conv.in_channels, 8, 8)

    torch.testing.assert_close(block(x), x)


SWITCHED = [
    {"surround": "last"},
    {"surround": "none"},
    {"global_context": False},
    {"input_injection": False},
    {"activation": "relu"},
    {"residual": "local"},
    {"residual": "none"},
    {"pointwise": True},
]


@pytest.mark.parametrize("switch", SWITCHED, ids=str)
def test_a_switched_network_labels_any_picture_and_learns_everywhere(
    switch: dict[str, str | bool],
) -> None:
    model = seeded(replace(TINY, **switch))
    logits = model(torch.randn(2, 3, 33, 47))
    logits.square().sum().backward()

    assert logits.shape == (2, 3, 33, 47)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("surround", "dilations"), [("last", [1, 1, 1, 1, 4]), ("none", [1, 1, 1, 1, 1])]
)
def test_surrounding_context_is_seen_where_the_switch_says(
    surround: str, dilations: list[int]
) -> None:
    model = seeded(replace(TINY, surround=surround))

    found = [m.dilation[0] for n, m in model.named_modules() if n.endswith("context.surround")]
    assert found == dilations


@pytest.mark.parametrize(
    ("switch", "kind", "count"),
    [
        ({}, nn.Linear, 10),
        ({"global_context": False}, nn.Linear, 0),
        ({}, nn.PReLU, 16),
        ({"activation": "relu"}, nn.PReLU, 0),
        ({"activation": "relu"}, nn.ReLU, 16),
        ({}, nn.Conv2d, 21),
        ({"pointwise": True}, nn.Conv2d, 31),
    ],
)
def test_a_switch_takes_out_or_puts_in_its_layers(
    switch: dict[str, str | bool], kind: type[nn.Module], count: int
) -> None:
    """Five blocks, two of them downsampling: two linear layers and two channel-wise ones each."""
    model = seeded(replace(TINY, **switch))

    assert sum(isinstance(module, kind) for module in model.modules()) == count


@pytest.mark.parametrize("injected", [True, False])
def test_the_picture_passes_the_stem_only_when_it_is_injected(injected: bool) -> None:
    model = seeded(replace(TINY, input_injection=injected)).eval()
    nn.init.zeros_(model.stem[0].conv.weight)
    one, other = model(torch.randn(2, 3, 32, 32))

    assert torch.equal(one, other) is not injected


@pytest.mark.parametrize("residual", ["global", "local", "none"])
def test_the_input_of_a_block_is_added_where_the_switch_says(residual: str) -> None:
    block = seeded(replace(TINY, residual=residual)).stage_3.blocks[0]
    nn.init.zeros_(block.context.joint.norm.weight)
    x = torch.randn(2, 32, 8, 8)

    expected = {"global": x, "local": x * block.gate(x), "none": torch.zeros_like(x)}
    torch.testing.assert_close(block(x), expected[residual])


@pytest.mark.parametrize("name", ["local", "surround"])
def test_a_pointwise_convolution_mixes_the_channels_of_each_extractor(name: str) -> None:
    context = seeded(replace(TINY, pointwise=True)).stage_3.blocks[0].context
    mix = getattr(context, f"mix_{name}")
    nn.init.zeros_(mix.weight)
    out = context(torch.randn(2, 16, 8, 8)).abs().sum(dim=(0, 2, 3))

    silent = out[:16] if name == "local" else out[16:]
    assert not silent.any()
    assert out.any()
