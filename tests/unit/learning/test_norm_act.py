"""Batch norm and activation at once: what the two layers of torch give, one after the other."""

import copy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.learning import norm_act as fused
from pipeline.learning.norm_act import norm_act
from tests.unit.learning.threads import threads


def pair(channels: int, activation: str) -> tuple[nn.BatchNorm2d, nn.Module]:
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    act = nn.PReLU(channels) if activation == "prelu" else nn.ReLU()
    for parameter in (*norm.parameters(), *act.parameters()):
        nn.init.uniform_(parameter, -1, 1)
    return norm, act


def both(
    norm: nn.BatchNorm2d,
    act: nn.Module,
    x: Tensor,
    near_zero: float = 1e-5,
    widths: Sequence[int] = (),
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return outputs, gradients and buffers of ours and of the twins, which are in float64.

    Ours gets x in parts of so many channels, or else whole.
    Rounding may turn the sign of y near 0, and a whole gradient with it: none comes from there.
    """
    found = []
    kept = (norm.double()(x.double()).abs() > near_zero).detach()
    norm.float().reset_running_stats()
    torch.manual_seed(1)
    grad = torch.randn_like(x) * kept
    for dtype in (torch.float32, torch.float64):
        n, a = (copy.deepcopy(layer).to(dtype) for layer in (norm, act))
        seen = x.detach().to(dtype).requires_grad_()
        parts = seen.split([*widths] or x.shape[1], dim=1)
        out = norm_act(n, a, *parts) if dtype == torch.float32 else a(n(seen))
        out.backward(grad.to(dtype))
        gradients = {"x": seen.grad, "scale": n.weight.grad, "shift": n.bias.grad}
        if isinstance(a, nn.PReLU):
            gradients["slope"] = a.weight.grad
        found.append({"out": out.detach(), **gradients, **dict(n.named_buffers())})
    return found[0], found[1]


def close(ours: dict[str, Tensor], twins: dict[str, Tensor], rtol: float) -> None:
    for name, twin in twins.items():
        size = max(float(twin.double().abs().max()), 1e-2)  # sums may cancel
        torch.testing.assert_close(
            ours[name].double(), twin.double(), rtol=0, atol=rtol * size + 1e-7, msg=name
        )


@settings(deadline=None)
@given(
    batch=st.integers(1, 3),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    height=st.integers(1, 9),
    width=st.integers(2, 30),
    activation=st.sampled_from(["prelu", "relu"]),
    channels_last=st.booleans(),
    num_threads=st.integers(1, 4),
)
def test_it_gives_what_its_twins_give(
    batch: int,
    widths: list[int],
    height: int,
    width: int,
    activation: str,
    channels_last: bool,
    num_threads: int,
) -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(batch, sum(widths), height, width) + 1
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    with threads(num_threads):
        ours, twins = both(*pair(sum(widths), activation), x, widths=widths)

    assert ours["out"].is_contiguous(memory_format=torch.channels_last)
    close(ours, twins, 1e-4)


def test_nothing_cancels_where_the_mean_is_far_from_zero() -> None:
    torch.manual_seed(0)

    far = torch.randn(2, 5, 40, 50) + 1000
    close(*both(*pair(5, "prelu"), far, near_zero=1e-2), 1e-3)


@pytest.mark.parametrize("others", [1.1, 37.3, 400.7])  # sums of round numbers are exact
def test_nothing_cancels_where_the_first_pixel_is_unlike_all_others(others: float) -> None:
    x = torch.full((8, 1, 256, 256), others)
    x[0, 0, 0, 0] = 0
    ours, twins = both(*pair(1, "prelu"), x)

    close({"var": ours["running_var"]}, {"var": twins["running_var"]}, 1e-4)
    close({"out": ours["out"]}, {"out": twins["out"]}, 1e-3)


def test_the_sum_of_many_pixels_stays_exact() -> None:
    torch.manual_seed(0)

    close(*both(*pair(3, "prelu"), torch.rand(4, 3, 300, 300)), 1e-5)


def test_the_same_again_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    layers, x = pair(35, "prelu"), torch.randn(2, 35, 20, 30)

    one, other = both(*layers, x)[0], both(*layers, x)[0]
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(value: float) -> None:
    x = torch.randn(1, 2, 4, 4)
    x[0, 0, 1, 1] = value
    x.requires_grad_()
    out = norm_act(*pair(2, "prelu"), x)
    out.sum().backward()

    for found in (out, x.grad):
        assert found is not None
        assert not torch.isfinite(found[:, 0]).any()
        assert torch.isfinite(found[:, 1]).all()


def test_one_pixel_is_refused_as_torch_does() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_act(*pair(2, "prelu"), torch.randn(1, 2, 1, 1))


def test_under_autocast_it_answers_in_what_it_was_given() -> None:
    norm, act = pair(8, "prelu")
    x = torch.randn(2, 8, 5, 6).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = norm_act(norm, act, x)
    out.float().sum().backward()

    twin = act(norm(x.detach().float()))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), twin, rtol=1e-2, atol=1e-2)
    assert x.grad is not None


@pytest.mark.parametrize("way", ["no gradient", "evaluation", "float64", "one slope", "no scale"])
def test_elsewhere_the_twins_themselves_run(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_fused", lambda *_: pytest.fail("this is not training"))
    norm, act = pair(4, "prelu")
    x = torch.randn(2, 4, 3, 3)
    if way == "float64":
        norm, act, x = norm.double(), act.double(), x.double()
    if way == "one slope":
        act = nn.PReLU()
    if way == "no scale":
        norm = nn.BatchNorm2d(4, affine=False)
    norm.train(way != "evaluation")
    with torch.set_grad_enabled(way != "no gradient"):
        found = norm_act(norm, act, x)

    assert torch.equal(found, act(copy.deepcopy(norm)(x)))


def run(program: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pytorch_keeps_the_threads_that_it_was_given(tmp_path: Path) -> None:
    """The first loop of a process starts threads for all cores."""
    program = (
        "import torch\n"
        "from torch import nn\n"
        "from pipeline.learning.norm_act import norm_act\n"
        "torch.set_num_threads(1)\n"
        "norm_act(nn.BatchNorm2d(2), nn.PReLU(2), torch.randn(1, 2, 4, 4))\n"
        "print(torch.get_num_threads())"
    )

    assert run(program, tmp_path) == "1\n"
