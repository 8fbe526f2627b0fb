"""What decays where the loss asks for nothing."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.core.architecture import Architecture
from pipeline.core.config import Decay, TrainConfig
from pipeline.learning.cgnet import CGNet
from pipeline.learning.optimizer import make_optimizer

SMALL = Architecture(3, num_blocks_2=1, num_blocks_3=2, widths=(4, 8, 8), reduction_3=2)


def one_step(decay: Decay, weight_decay: float) -> tuple[CGNet, dict[str, Tensor]]:
    """Take a step without a gradient; return the model, and what of it was before."""
    torch.manual_seed(0)
    model = CGNet(SMALL)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    training = TrainConfig(weight_decay=weight_decay, decay=decay, learning_rate=1e-2)
    optimizer = make_optimizer(model, training)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return model, before


@pytest.mark.parametrize("decay", ["l2", "scales"])
def test_l2_takes_a_whole_step_off_what_it_is_told_to(decay: Decay) -> None:
    model, before = one_step(decay, 1e-3)
    scales = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}

    for name, value in model.named_parameters():
        falling = before[name].abs() > 0.1
        step = (before[name].abs() - value.abs()).detach()[falling]
        if decay == "scales" and name not in scales:
            assert torch.equal(value, before[name]), name
        else:
            assert step.numpy() == pytest.approx(1e-2, rel=1e-2), name


def test_adamw_shrinks_convolutions_by_a_share_and_nothing_else() -> None:
    model, before = one_step("adamw", 5e-2)
    convolutions = {
        f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }

    for name, value in model.named_parameters():
        share = 1e-2 * 5e-2 if name in convolutions else 0.0
        torch.testing.assert_close(value.detach(), before[name] * (1 - share), msg=name)
