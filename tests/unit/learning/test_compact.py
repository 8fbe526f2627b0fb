"""A compacted network says what the original says, on every pixel, and holds nothing dead."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core import cost
from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError
from pipeline.core.peer import Network, Peer
from pipeline.learning.cgnet import CGNet
from pipeline.learning.compact.compaction import Compaction, compact
from pipeline.learning.compact.deployed import deployed_cost
from pipeline.learning.compact.measure import compare
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.network import build, count_built_macs, count_weights

SMALL = Architecture(
    num_classes=4, num_blocks_2=2, num_blocks_3=3, widths=(6, 8, 12), reduction_2=2, reduction_3=3
)
SIZES = ((16, 24), (33, 21), (7, 9), (1, 1))


def trained(architecture: Architecture, seed: int = 0) -> CGNet:
    """Return a network whose norms and slopes are as various as training makes them."""
    torch.manual_seed(seed)
    model = CGNet(architecture).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(1, 0.2)
                module.bias.normal_(0, 0.3)
                module.get_buffer("running_mean").normal_(0, 0.3)
                module.get_buffer("running_var").uniform_(0.5, 1.5)
            elif isinstance(module, nn.PReLU):
                module.weight.normal_(0.25, 0.1)
    return model


@torch.no_grad()
def kill(model: CGNet, share: float, seed: int) -> None:
    """Kill about this share of everything, in each of the ways that training does it."""
    chance = torch.Generator().manual_seed(seed)

    def picked(count: int) -> Tensor:
        return torch.rand(count, generator=chance) < share

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight[picked(len(module.weight))] = 0
            module.weight[picked(len(module.weight))] *= 1e-39
            module.weight[:, picked(module.weight.shape[1]) & (module.groups == 1)] = 0
        elif isinstance(module, nn.BatchNorm2d):
            for end_bias, factor in ((True, 0.0), (False, 0.0), (False, 1e-39), (True, 1e-39)):
                dead = picked(len(module.weight))
                module.weight[dead] *= factor
                module.bias[dead] *= factor if end_bias else 1.0
        elif isinstance(module, nn.PReLU):
            module.weight[picked(len(module.weight))] = 0
        elif isinstance(module, nn.Linear):
            module.weight[picked(len(module.weight))] = 0
            module.weight[:, picked(module.weight.shape[1])] = 0
            if picked(1):
                module.weight.zero_()


def pictures(sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Tensor]:
    chance = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, *size, generator=chance) for size in sizes]


def assert_same(model: nn.Module, network: nn.Module) -> None:
    with torch.inference_mode():
        for image in pictures():
            expected = model(image)
            assert network(image).shape == expected.shape
            torch.testing.assert_close(network(image), expected, atol=2e-5, rtol=2e-5)


@st.composite
def dying(draw: st.DrawFn) -> tuple[Architecture, float, int]:
    architecture = Architecture(
        num_classes=draw(st.integers(1, 4)),
        num_blocks_2=draw(st.integers(1, 3)),
        num_blocks_3=draw(st.integers(1, 4)),
        widths=(
            draw(st.integers(2, 6)),
            2 * draw(st.integers(1, 4)),
            2 * draw(st.integers(1, 5)),
        ),
        dilations_2=(draw(st.integers(1, 3)),),
        dilations_3=(1, 3),
        reduction_2=draw(st.integers(1, 2)),
        reduction_3=draw(st.integers(1, 2)),
    )
    share = draw(st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8]))
    return architecture, share, draw(st.integers(0, 2**31))


@pytest.mark.parametrize("fold_bn", [False, True])
@given(case=dying())
@settings(max_examples=25, deadline=None)
def test_whatever_dies_the_logits_stay(
    fold_bn: bool, case: tuple[Architecture, float, int]
) -> None:
    architecture, share, seed = case
    model = trained(architecture, seed)
    kill(model, share, seed)

    network = compact(model, architecture, fold_bn=fold_bn).network

    assert_same(model, network)
    assert count_weights(network) <= count_weights(model)


def test_a_network_with_nothing_dead_comes_back_as_it_was() -> None:
    model = trained(SMALL)
    done = compact(model, SMALL)

    assert count_weights(done.network) == count_weights(model)
    assert [kind.kept for kind in done.removed] == [kind.built for kind in done.removed]
    with torch.inference_mode():
        assert all(torch.equal(done.network(image), model(image)) for image in pictures())


def test_folding_saves_one_parameter_for_each_norm_behind_a_convolution() -> None:
    model = trained(SMALL)
    folded = compact(model, SMALL, fold_bn=True).network

    norms = sum(len(m.weight) for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    unfolded = sum(len(m.weight) for m in folded.modules() if isinstance(m, nn.BatchNorm2d))
    assert unfolded == (6 + 3) + (2 * 8 + 3) + 2 * 12
    assert count_weights(model) - count_weights(folded) == norms - unfolded


@torch.no_grad()
def test_a_network_half_dead_shrinks_to_the_network_of_half_the_width() -> None:
    """A half of every layer is dead, so what is left is CGNet with halves for widths, exactly."""
    big = Architecture(
        num_classes=5, num_blocks_2=3, num_blocks_3=4, widths=(8, 16, 24), reduction_2=2
    )
    big = replace(big, reduction_3=4)
    half = replace(big, widths=(4, 8, 12))
    model = trained(big)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            dead = _dead_half(name, len(module.weight), big)
            module.weight[dead] = 0
            module.bias[dead] = 0
        elif isinstance(module, nn.Linear) and name.endswith("squeeze"):
            module.weight[len(module.weight) // 2 :] = 0
        elif isinstance(module, nn.Conv2d) and name.endswith("reduce"):
            module.weight[_halves(len(module.weight), 2)] = 0

    network = compact(model, big).network

    assert count_weights(network) == cost.count_parameters(half)
    assert count_built_macs(network, 64, 96) == cost.count_macs(half, 64, 96)
    assert_same(model, network)


def _dead_half(name: str, channels: int, architecture: Architecture) -> Tensor:
    """Return the dead channels of a norm: the second half of each thing that it joins."""
    c1, c2, _ = architecture.widths
    image = torch.zeros(3, dtype=torch.bool)
    if name == "fuse_1.norm":
        return torch.cat((_halves(c1, 1), image))
    if name == "fuse_2.norm":
        return torch.cat((_halves(2 * c2, 4), image))
    if name == "fuse_3.norm":
        return _halves(channels, 4)
    return _halves(channels, 2 if "joint" in name else 1)


def _halves(channels: int, parts: int) -> Tensor:
    part = torch.arange(channels // parts) >= channels // parts // 2
    return part.repeat(parts)


@dataclass(frozen=True)
class Death:
    """Something that is dead, and where the compacted network shows it."""

    makes: Callable[[CGNet], None]
    shows: Callable[[CompactCGNet], bool]


def _constant(norm: nn.Module, channel: int, value: float) -> None:
    norm.get_parameter("weight").data[channel] = 0
    norm.get_parameter("bias").data[channel] = value


def _zero(*parameters: Tensor) -> None:
    for parameter in parameters:
        parameter.data.zero_()


DEATHS = {
    "a constant before a padded convolution of the stem": Death(
        lambda m: _constant(m.get_submodule("stem.0.norm"), 2, 1.5),
        lambda n: n.shape.stem == (5, 6, 6) and n.shape.stem_border == (False, True, False),
    ),
    "a constant before a stage's padded convolution": Death(
        lambda m: _constant(m.get_submodule("fuse_2.norm"), 3, -2.0),
        lambda n: n.shape.stages[1].border and len(n.shape.stages[1].down.reads) == 18,
    ),
    "a constant before the reduction": Death(
        lambda m: _constant(m.get_submodule("stage_2.down.context.joint.norm"), 3, 1.0),
        lambda n: n.shape.stages[0].reduce_bias and n.shape.stages[0].down.local == 7,
    ),
    "a constant before the classifier": Death(
        lambda m: _constant(m.get_submodule("fuse_3.norm"), 3, 1.0),
        lambda n: n.shape.classifier_bias and len(n.shape.reads) == 23,
    ),
    "a constant before a gate": Death(
        lambda m: _constant(m.get_submodule("stage_3.blocks.0.context.joint.norm"), 7, 1.0),
        lambda n: n.shape.stages[1].blocks[0].lifts == (7,),
    ),
    "a constant before F_loc and F_sur": Death(
        lambda m: _constant(m.get_submodule("stage_3.blocks.0.entry.norm"), 2, 1.0),
        lambda n: (
            n.shape.stages[1].blocks[0].entry == 5
            and n.shape.stages[1].blocks[0].local == n.shape.stages[1].blocks[0].surround == 6
        ),
    ),
    "all entries of a block, which leave constants": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.0.entry.norm.weight")),
        lambda n: (
            n.shape.stages[1].blocks[0].entry == 1 and len(n.shape.stages[1].blocks[0].reads) == 1
        ),
    ),
    "a reduced channel that only F_sur sees": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.1.context.local.weight")[4:]),
        lambda n: (
            n.shape.stages[1].blocks[1].local == 4
            and n.shape.stages[1].blocks[1].surround == n.shape.stages[1].blocks[1].entry == 6
        ),
    ),
    "a hidden unit of a gate": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.1.gate.squeeze.weight")[2]),
        lambda n: [b.hidden for b in n.shape.stages[1].blocks] == [4, 3],
    ),
    "a gate's first layer": Death(
        lambda m: _zero(m.get_parameter("stage_3.down.gate.squeeze.weight")),
        lambda n: n.shape.stages[1].down.hidden == 0,
    ),
    "a gate's second layer": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.0.gate.excite.weight")),
        lambda n: n.shape.stages[1].blocks[0].hidden == 0,
    ),
    "columns of an entry": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.0.entry.conv.weight")[:, 1::4]),
        lambda n: n.shape.stages[1].blocks[0].reads == (0, 2, 3, 4, 6, 7, 8, 10, 11),
    ),
    "a block": Death(
        lambda m: _zero(
            m.get_parameter("stage_3.blocks.0.context.joint.norm.weight"),
            m.get_parameter("stage_3.blocks.0.context.joint.norm.bias"),
        ),
        lambda n: len(n.shape.stages[1].blocks) == 1,
    ),
    "all that a block adds but constants": Death(
        lambda m: _zero(m.get_parameter("stage_3.blocks.1.context.joint.norm.weight")),
        lambda n: len(n.shape.stages[1].blocks) == 1,
    ),
    "what the last block writes and nobody reads": Death(
        lambda m: _zero(
            m.get_parameter("classifier.weight")[:, 12 + 5],
            m.get_parameter("stage_3.blocks.1.gate.squeeze.weight"),
        ),
        lambda n: (
            n.shape.stages[1].blocks[1].surround + n.shape.stages[1].blocks[1].local == 11
            and len(n.shape.reads) == 23
        ),
    ),
    "a picture's channel": Death(
        lambda m: _constant(m.get_submodule("fuse_1.norm"), 6 + 1, 0.0),
        lambda n: n.shape.stages[0].down.reads == (0, 1, 2, 3, 4, 5, 6, 8),
    ),
    "the whole classifier": Death(
        lambda m: _zero(m.get_parameter("classifier.weight")),
        lambda n: len(n.shape.reads) == 1 and n.shape.stages[1].blocks == (),
    ),
}


@pytest.mark.parametrize("fold_bn", [False, True])
@pytest.mark.parametrize("what", DEATHS)
def test_a_death_is_seen_and_changes_no_logit(what: str, fold_bn: bool) -> None:
    model = trained(SMALL)
    DEATHS[what].makes(model)

    network = compact(model, SMALL, fold_bn=fold_bn).network

    assert DEATHS[what].shows(network), network.shape
    assert_same(model, network)
    assert count_weights(network) < count_weights(model)


def test_a_stream_channel_goes_when_no_block_writes_it() -> None:
    model = trained(SMALL)
    with torch.no_grad():
        model.get_parameter("stage_3.down.reduce.weight")[4] = 0
        for block in (0, 1):
            _constant(model.get_submodule(f"stage_3.blocks.{block}.context.joint.norm"), 4, 0.0)

    done = compact(model, SMALL)

    assert done.network.shape.stages[1].width == 11
    (stream,) = (kind for kind in done.removed if kind.kind == "stream channels")
    assert (stream.zero, stream.constant, stream.unread, stream.kept) == (1, 0, 0, 19)
    assert_same(model, done.network)


def half_dead(architecture: Architecture = SMALL) -> tuple[CGNet, Compaction]:
    model = trained(architecture)
    kill(model, 0.08, seed=3)
    return model, compact(model, architecture)


def test_denormal_weights_are_gone() -> None:
    _, done = half_dead()

    weights = torch.cat([p.detach().flatten() for p in done.network.parameters()])
    assert not ((weights != 0) & (weights.abs() < 1e-30)).any()


def test_m3n21_compacts_in_seconds() -> None:
    model = trained(Architecture())
    kill(model, 0.1, seed=0)
    started = time.perf_counter()
    compact(model, Architecture(), fold_bn=True)

    assert time.perf_counter() - started < 10


def test_a_compacted_network_trains_on() -> None:
    network = half_dead()[1].network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    image = pictures(((24, 24),))[0]
    label = torch.randint(4, (2, 24, 24), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert all(parameter.grad is not None for parameter in network.parameters())
    assert losses[-1] < losses[0]


def test_constants_that_went_into_running_means_are_no_part_of_training() -> None:
    """In training a batch norm takes its own mean off, and the constants with it."""
    model = trained(SMALL)
    _zero(model.get_parameter("stage_3.blocks.0.context.joint.norm.weight"))  # constants are added
    _zero(model.get_parameter("stage_3.blocks.0.gate.squeeze.weight"))
    network = compact(model, SMALL).network
    image = pictures(((24, 24),))[0]

    torch.testing.assert_close(network.train()(image), model.train()(image), atol=1e-4, rtol=1e-4)


def test_onnx_gives_the_same_logits_at_other_sizes() -> None:
    pytest.importorskip("onnx", reason="the exporter needs onnx")
    pytest.importorskip("onnxscript", reason="the exporter needs onnxscript")
    ort = pytest.importorskip("onnxruntime", reason="only a runtime can tell what a graph does")
    network = half_dead(replace(SMALL, num_blocks_2=1, num_blocks_3=2))[1].network
    assert any(not block.write.whole for block in network.stage_3.blocks)  # channels are placed
    sizes = dict(enumerate(map(torch.export.Dim, ("batch", "height", "width"))))
    program = torch.onnx.export(
        network,
        (torch.randn(2, 3, 32, 48),),
        dynamo=True,
        dynamic_shapes=({0: sizes[0], 2: sizes[1], 3: sizes[2]},),
        verbose=False,
    )
    assert program is not None
    session = ort.InferenceSession(program.model_proto.SerializeToString())

    for image in pictures(((32, 48), (33, 21), (45, 64))):
        with torch.inference_mode():
            expected = network(image)
        (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)


def test_a_compacted_network_is_not_compacted_again() -> None:
    with pytest.raises(UsageError, match="compacted already"):
        compact(half_dead()[1].network, SMALL)


def test_counted_macs_are_those_of_the_formula() -> None:
    assert count_built_macs(trained(SMALL), 33, 47) == cost.count_macs(SMALL, 33, 47)


def test_a_half_dead_network_costs_what_is_left_of_it() -> None:
    model, done = half_dead()
    before = [parameter.clone() for parameter in model.parameters()]
    cost_ = deployed_cost(model.train(), SMALL, (33, 47))

    assert cost_.parameters == count_weights(done.network) < count_weights(model)
    assert cost_.macs == count_built_macs(done.network, 33, 47)
    assert model.training
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("network", [replace(SMALL, activation="relu"), Peer("enet", 4)])
def test_what_compaction_does_not_know_costs_what_was_built(network: Network) -> None:
    model = build(network)
    cost_ = deployed_cost(model, network, (64, 64))

    assert cost_.parameters == count_weights(model)
    assert cost_.macs == count_built_macs(model.eval(), 64, 64)


def test_logits_that_are_no_numbers_do_not_agree() -> None:
    model, broken = trained(SMALL), trained(SMALL)
    broken.get_parameter("classifier.weight").data[0] = float("nan")

    assert compare(model, model, pictures()).is_close
    assert not compare(model, broken, pictures()).is_close
    assert compare(model, model, pictures()).pixels == sum(2 * h * w for h, w in SIZES)


def test_labels_that_differ_are_counted() -> None:
    model, other = trained(SMALL), trained(SMALL)
    other.get_parameter("classifier.weight").data.neg_()

    assert compare(model, other, pictures()).labels_differing > 0
