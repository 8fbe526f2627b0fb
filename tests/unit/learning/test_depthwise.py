"""Channel-wise convolutions: what torch's give, there and back."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.learning.depthwise import DepthwiseConv2d
from tests.unit.learning.threads import threads


def learned(forward: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of the input and the weight."""
    seen = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = forward(seen)
    draw = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=draw).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, [seen, weight], grad)]


@settings(deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 40),
    dilation=st.integers(1, 9),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels_last=st.booleans(),
    bias=st.booleans(),
    num_threads=st.integers(1, 4),
)
def test_it_gives_what_its_twin_gives(
    batch: int,
    channels: int,
    dilation: int,
    height: int,
    width: int,
    channels_last: bool,
    bias: bool,
    num_threads: int,
) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(channels, dilation, bias)
    twin = nn.Conv2d(
        channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=bias
    ).double()
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(batch, channels, height, width)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
        layer.to(memory_format=torch.channels_last)
    with threads(num_threads):
        ours = learned(layer, x, layer.weight)
        with torch.no_grad():
            ours.append(layer(x))
    twins = learned(twin, x.double(), twin.weight)

    for mine, exact in zip(ours, [*twins, twins[0]], strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1e-4, atol=1e-4)


def test_the_same_again_gives_the_same_bits() -> None:
    layer, x = DepthwiseConv2d(35, 2), torch.randn(2, 35, 20, 30)
    with threads(2):
        one, other = learned(layer, x, layer.weight), learned(layer, x, layer.weight)

    assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_reaches_the_channel_it_is_in(value: float) -> None:
    layer, x = DepthwiseConv2d(2, 1), torch.randn(1, 2, 4, 4)
    x[0, 0, 1, 1] = value
    _, _, of_weight = learned(layer, x, layer.weight)

    assert not of_weight[0].isfinite().any()
    assert of_weight[1].isfinite().all()


def test_in_double_precision_the_twin_itself_runs() -> None:
    layer, x = DepthwiseConv2d(3, 2).double(), torch.randn(1, 3, 6, 6, dtype=torch.float64)

    assert torch.autograd.gradcheck(layer, x.requires_grad_())
