"""How far a step goes and where, and what decays where the loss asks for nothing."""

from copy import deepcopy
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.core.architecture import Architecture
from pipeline.core.config import OptimizerName, TrainConfig
from pipeline.learning.cgnet import CGNet
from pipeline.learning.optimizer import Muon, make_optimizer, orthogonal

SMALL = Architecture(3, num_blocks_2=1, num_blocks_3=2, widths=(4, 8, 8), reduction_3=2)
RATE = 1e-2


def one_step(
    name: OptimizerName, weight_decay: float, gradient: float = 0.0
) -> tuple[CGNet, dict[str, Tensor]]:
    """Take a step with random gradients of that size; return the model, and what was before."""
    torch.manual_seed(0)
    model = CGNet(SMALL)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    training = TrainConfig(weight_decay=weight_decay, optimizer=name, learning_rate=RATE)
    optimizer = make_optimizer(model, training)
    for parameter in model.parameters():
        parameter.grad = gradient * torch.randn_like(parameter)
    optimizer.step()
    return model, before


def layers(model: nn.Module, *kinds: type[nn.Module]) -> set[str]:
    return {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, kinds)}


@pytest.mark.parametrize("name", ["adam", "adam-scales"])
def test_l2_takes_a_whole_step_off_what_it_is_told_to(name: OptimizerName) -> None:
    model, before = one_step(name, 1e-3)
    scales = layers(model, nn.BatchNorm2d)

    for parameter, value in model.named_parameters():
        falling = before[parameter].abs() > 0.1
        step = (before[parameter].abs() - value.abs()).detach()[falling]
        if name == "adam-scales" and parameter not in scales:
            assert torch.equal(value, before[parameter]), parameter
        else:
            assert step.numpy() == pytest.approx(RATE, rel=1e-2), parameter


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_decoupled_decay_shrinks_convolutions_by_a_share_and_nothing_else(
    name: OptimizerName,
) -> None:
    model, before = one_step(name, 5e-2)
    convolutions = layers(model, nn.Conv2d, nn.Linear)

    for parameter, value in model.named_parameters():
        share = RATE * 5e-2 if parameter in convolutions else 0.0
        torch.testing.assert_close(value.detach(), before[parameter] * (1 - share), msg=parameter)


@pytest.mark.parametrize("gradient", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_no_step_is_much_longer_than_the_rate_whatever_the_gradient(
    name: OptimizerName, gradient: float
) -> None:
    model, before = one_step(name, 0.0, gradient)

    for parameter, value in model.named_parameters():
        length = float((value - before[parameter]).detach().square().mean().sqrt())
        assert 0.1 * RATE < length < 1.1 * RATE, parameter


def test_muon_turns_what_maps_features_to_features_in_all_directions_alike() -> None:
    model, before = one_step("muon", 0.0, 1.0)
    mapping = layers(model, nn.Conv2d, nn.Linear) - {"classifier.weight"}
    mapping -= {name for name in mapping if ".local." in name or ".surround." in name}

    for parameter, value in model.named_parameters():
        step = (value - before[parameter]).detach()
        if parameter in mapping:
            lengths = torch.linalg.svdvals(step.flatten(1))
            assert float(lengths.max() / lengths.min()) < 2, parameter
        else:  # Adam's first step is as long everywhere
            assert step.abs().numpy() == pytest.approx(RATE, rel=1e-3), parameter


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 27), (2, 64, 16), (1, 1, 5)])
def test_orthogonal_keeps_the_directions_and_levels_the_lengths(
    shape: tuple[int, int, int],
) -> None:
    torch.manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    lengths = torch.logspace(0, -1.5, min(shape[1:]))  # from 1 down to 0.03

    found = orthogonal(100 * left * lengths @ right)

    inner = left.mT @ found @ right.mT
    diagonal = torch.diagonal(inner, dim1=1, dim2=2)
    assert float(diagonal.min()) > 0.6
    assert float(diagonal.max()) < 1.3
    torch.testing.assert_close(inner, torch.diag_embed(diagonal), rtol=0, atol=1e-3)
    torch.testing.assert_close(found, left * diagonal[:, None] @ right, rtol=0, atol=1e-3)


def test_muon_steps_by_a_momentum_that_looks_ahead() -> None:
    """Nesterov's, of gradients with a weight of 0.05, as the second step shows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 4, 1, bias=False))
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.0, learning_rate=RATE))
    (weight,), gradients = model.parameters(), torch.randn(2, 4, 6, 1, 1)
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step()

    first, second = gradients
    momentum = 0.95 * (0.05 * first) + 0.05 * second
    direction = orthogonal((0.95 * momentum + 0.05 * second).reshape(1, 4, 6))
    expected = RATE * 0.2 * 6**0.5 * direction.reshape(weight.shape)
    torch.testing.assert_close(before - weight.detach(), expected)


def test_muon_asks_a_closure_for_loss_and_gradients_first() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([{"params": [weight], "weight_decay": 0.0, "is_orthogonal": True}], lr=RATE)

    def closure() -> float:
        loss = weight.trace()
        torch.autograd.backward(loss)
        return float(loss.detach())

    assert optimizer.step(closure) == 2.0
    assert float(weight.detach().trace()) < 2.0


def test_a_gradient_of_nothing_is_no_direction() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_muon_goes_on_to_the_bit_from_what_it_was() -> None:
    training = TrainConfig(learning_rate=RATE)
    torch.manual_seed(0)
    one, other = CGNet(SMALL), CGNet(SMALL)
    first = make_optimizer(one, training)

    def step(model: CGNet, optimizer: torch.optim.Optimizer, seed: int) -> None:
        chance = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=chance)
        optimizer.step()

    step(one, first, 1)
    other.load_state_dict(one.state_dict())
    second = make_optimizer(other, training)
    second.load_state_dict(deepcopy(first.state_dict()))
    for model, optimizer in ((one, first), (other, second)):
        step(model, optimizer, 2)

    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
