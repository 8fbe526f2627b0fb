from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from pipeline.learning.depthwise import DepthwiseConv2d
from pipeline.learning.operators import (
    PointwiseConv2d,
    PReLU,
    upsample,
)
from tests.unit.learning.threads import threads


def gradients(layer: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of the input and the weight."""
    out = layer(x)
    draw = torch.Generator().manual_seed(1)
    grad_out = torch.randn(out.shape, generator=draw, dtype=out.dtype)
    return [out, *torch.autograd.grad(out, [x, weight], grad_out)]


def test_prelu_gives_what_its_twin_gives_bit_by_bit() -> None:
    layer = PReLU(5)
    nn.init.uniform_(layer.weight, -1, 1)
    x = torch.randn(2, 5, 6, 7)
    x[0, :, 0] = 0.0  # where the two sides meet
    x.requires_grad_()
    ours = gradients(layer, x, layer.weight)
    twins = gradients(lambda x: nn.PReLU.forward(layer, x), x, layer.weight)
    assert torch.equal(ours[0], twins[0])
    assert torch.equal(ours[1], twins[1])
    torch.testing.assert_close(ours[2], twins[2])  # a sum, in another order


@given(
    batch=st.integers(1, 3),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    channels_last=st.booleans(),
    bias=st.booleans(),
)
def test_a_pointwise_convolution_gives_what_its_twin_gives(
    batch: int, inputs: int, outputs: int, dtype: torch.dtype, channels_last: bool, bias: bool
) -> None:
    layer, x = PointwiseConv2d(inputs, outputs, bias).to(dtype), torch.randn(batch, inputs, 5, 7)
    x = x.to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    with torch.no_grad():
        mine, twin = layer(x), nn.Conv2d.forward(layer, x)
    assert mine.is_contiguous(memory_format=torch.channels_last) == twin.is_contiguous(
        memory_format=torch.channels_last
    )
    torch.testing.assert_close(mine, twin)


@given(
    batch=st.integers(1, 3),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 40),
    channels_last=st.booleans(),
    num_threads=st.integers(1, 2),
)
def test_a_pointwise_convolution_learns_what_its_twin_learns(
    batch: int, inputs: int, outputs: int, channels_last: bool, num_threads: int
) -> None:
    layer, x = PointwiseConv2d(inputs, outputs), torch.randn(batch, inputs, 5, 7)
    if channels_last:
        layer.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    with threads(num_threads):
        ours = gradients(layer, x, layer.weight)
    twins = gradients(lambda x: nn.Conv2d.forward(layer, x), x, layer.weight)
    for mine, twin in zip(ours, twins, strict=True):
        torch.testing.assert_close(mine, twin, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("layer", [PointwiseConv2d(8, 6), DepthwiseConv2d(8, 2)])
def test_a_gradient_lies_as_its_weight_does(layer: nn.Conv2d, num_threads: int) -> None:
    """Else DDP, whose buckets lie as the weights of a training do, copies number by number."""
    convert_conv2d_weight_memory_format(layer, torch.channels_last)
    layer.weight.grad = None
    with threads(num_threads):
        layer(torch.randn(2, 8, 5, 7).to(memory_format=torch.channels_last)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.stride() == layer.weight.stride()


@given(
    old=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    new=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels_last=st.booleans(),
)
def test_upsampling_gives_what_its_twin_gives(
    old: tuple[int, int], new: tuple[int, int], channels_last: bool
) -> None:
    x = torch.randn(2, 3, *old, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()

    def twin(x: Tensor) -> Tensor:
        return F.interpolate(x, size=new, mode="bilinear", align_corners=False)

    ours = gradients(lambda x: upsample(x, torch.Size(new)), x, x)
    for mine, twins in zip(ours, gradients(twin, x, x), strict=True):
        torch.testing.assert_close(mine, twins)


@pytest.mark.parametrize(
    "layer",
    [PReLU(8), DepthwiseConv2d(8, 2), DepthwiseConv2d(8, 8), PointwiseConv2d(8, 8)],
)
def test_gradients_are_there_under_autocast(layer: nn.Module) -> None:
    convolution = nn.Conv2d(3, 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(convolution(torch.randn(2, 3, 24, 24)))
    assert out.dtype == torch.bfloat16
    torch.autograd.backward(out.float().square().sum())
    for parameter in (*layer.parameters(), *convolution.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
