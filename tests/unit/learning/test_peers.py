"""The peers against their published sizes and the parts their papers name."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.peer import PEER_LABELS, Peer
from pipeline.learning.network import build, network_size
from pipeline.learning.peers.enet import ENet
from pipeline.learning.peers.espnet import ESPNet
from pipeline.learning.peers.fcn_dilation8 import context_module
from pipeline.learning.peers.registry import PEERS

NAMES = sorted(PEERS)

# Counted from our networks: a change here changes what earlier results were measured with.
SIZES = {
    "deeplabv3": 492_629,
    "enet": 361_799,
    "espnet": 363_462,
    "fcn_dilation8": 347_427,
    "icnet": 493_675,
}


def seeded(name: str, num_classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build(Peer(name, num_classes))


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def dilations(module: nn.Module) -> Iterator[int]:
    return (m.dilation[0] for m in module.modules() if isinstance(m, nn.Conv2d))


def test_the_peers_that_can_be_named_are_those_that_can_be_built() -> None:
    assert PEERS.keys() == PEER_LABELS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_has_the_size_it_had(name: str) -> None:
    assert network_size(Peer(name, num_classes=19)) == SIZES[name] == size_of(seeded(name, 19))


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_is_no_larger_than_the_papers_cgnet(name: str) -> None:
    assert network_size(Peer(name)) <= count_parameters(Architecture())


@pytest.mark.parametrize(("num_classes", "published"), [(19, 360_422), (11, 358_246)])
def test_enet_has_the_published_convolutions_and_norms(num_classes: int, published: int) -> None:
    """The published count has one slope for each of 23 blocks, where the paper has one a channel,
    and a classifier of 128 channels that only the encoder's own training uses."""
    with torch.device("meta"):
        enet = ENet(num_classes)
    slopes = sum(size_of(module) for module in enet.modules() if isinstance(module, nn.PReLU))

    assert size_of(enet) - slopes == published - 23 - 128 * num_classes


@pytest.mark.parametrize(("num_classes", "published"), [(19, 201_542), (11, 191_517)])
def test_a_shallow_espnet_has_the_published_size(num_classes: int, published: int) -> None:
    with torch.device("meta"):
        assert size_of(ESPNet(num_classes, alpha_3=3)) == published


def test_espnet_has_the_size_of_the_paper() -> None:
    assert round(network_size(Peer("espnet")) / 1e6, 2) == 0.36


@pytest.mark.parametrize("num_classes", [2, 11, 19])
def test_the_context_module_has_the_weights_of_the_paper(num_classes: int) -> None:
    weights = sum(layer.weight.numel() for layer in context_module(num_classes)[::2])

    assert weights == 64 * num_classes**2


def test_a_new_context_module_passes_class_maps_on() -> None:
    maps = torch.rand(2, 5, 9, 11)

    torch.testing.assert_close(context_module(5)(maps), maps)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 9), (1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_size_of_the_picture(name: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert seeded(name, 5).eval()(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("num_classes", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_peer_may_have_few_classes(name: str, num_classes: int) -> None:
    with torch.inference_mode():
        logits = seeded(name, num_classes).eval()(torch.randn(1, 3, 16, 16))

    assert logits.shape == (1, num_classes, 16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    """DDP waits for each of them."""
    model = seeded(name)
    model(torch.randn(2, 3, 33, 47)).square().sum().backward()

    assert [n for n, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_labelled_alike_whatever_its_batch(name: str) -> None:
    model = seeded(name).eval()
    images = torch.randn(3, 3, 32, 32)

    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_learns_one_picture(name: str) -> None:
    """Four quarters in four colours: what has a path from picture to label gets them in time."""
    label = torch.arange(4).reshape(2, 2).repeat_interleave(16, 0).repeat_interleave(16, 1)
    image = nn.functional.one_hot(label).permute(2, 0, 1)[:3].float()
    pair = torch.stack((image, image.flip(2))), torch.stack((label, label.flip(1)))
    model = seeded(name, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = [_step(model, optimizer, *pair) for _ in range(25)]

    assert min(losses) < 0.5 * losses[0]


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, label: Tensor
) -> float:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(image), label)
    loss.backward()
    optimizer.step()
    return loss.item()


def test_enet_sees_with_the_dilations_of_the_paper() -> None:
    assert [d for d in dilations(seeded("enet")) if d > 1] == [2, 4, 8, 16] * 2


def test_deeplab_sees_with_the_multi_grid_and_rates_of_the_paper() -> None:
    found = [d for d in dilations(seeded("deeplabv3")) if d > 1]

    assert found == [2, 2, 4, 4, 8, 8, 6, 12, 18]


def test_dilation8_sees_with_the_dilations_of_the_paper() -> None:
    assert list(dilations(seeded("fcn_dilation8").context)) == [1, 1, 2, 4, 8, 16, 1, 1]


def test_the_branches_of_an_esp_module_fill_the_grid_of_the_next() -> None:
    """With only the second branch alive, all that are fused show it, and the first does not."""
    module = seeded("espnet").down_2.eval()
    for i, branch in enumerate(module.branches):
        if i != 1:
            nn.init.zeros_(branch.weight)
    module.norm = nn.Identity()
    first, *fused = module(torch.randn(1, 19, 16, 16)).split([16, 12, 12, 12, 12], dim=1)

    assert not first.any()
    assert fused[0].any()
    assert all(torch.equal(part, fused[0]) for part in fused)


def test_icnet_sees_the_whole_picture_in_its_deep_branch_and_detail_in_its_shallow_one() -> None:
    sizes: dict[str, tuple[int, ...]] = {}
    model = seeded("icnet").eval()
    for name in ("branch_full", "branch_half", "branch_quarter"):
        module = getattr(model, name)
        module.register_forward_hook(
            lambda _module, _inputs, out, name=name: sizes.update({name: tuple(out.shape[2:])})
        )
    with torch.inference_mode():
        model(torch.randn(1, 3, 64, 96))

    assert sizes == {"branch_full": (8, 12), "branch_half": (4, 6), "branch_quarter": (2, 3)}
