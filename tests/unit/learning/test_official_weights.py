"""CGNet with the authors' weights against the authors' network, written here a second time.

The network below knows no module of the program: it is made of functions alone and reads its
weights by the names that the authors' code saves.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.compact import CompactOptions, compact
from pipeline.core.architecture import Architecture
from pipeline.learning.cgnet import CGNet
from pipeline.learning.official import load_official_state_dict
from pipeline.learning.weights import load_weights

State = dict[str, Tensor]

SMALL = Architecture(
    num_classes=5, num_blocks_2=3, num_blocks_3=4, widths=(8, 16, 32), reduction_2=4, reduction_3=8
)


def official_state(a: Architecture) -> State:
    """Return random weights and batch norm statistics under the authors' names."""
    chance = torch.Generator().manual_seed(42)
    c1, c2, c3 = a.widths
    state: State = {}

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance)

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2 / (inputs * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = spread * normal(outputs, inputs, kernel, kernel)

    def norm_act(name: str, channels: int) -> None:
        state[f"{name}.bn.weight"] = 1 + 0.2 * normal(channels)
        state[f"{name}.bn.bias"] = 0.3 * normal(channels)
        state[f"{name}.bn.running_mean"] = 0.3 * normal(channels)
        state[f"{name}.bn.running_var"] = 0.5 + torch.rand(channels, generator=chance)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(123)
        state[f"{name}.act.weight"] = 0.25 + 0.1 * normal(channels)

    def conv_norm_act(name: str, outputs: int, inputs: int, kernel: int) -> None:
        conv(f"{name}.conv", outputs, inputs, kernel)
        norm_act(name, outputs)

    def context(name: str, channels: int) -> None:
        conv(f"{name}.F_loc.conv", channels, 1, 3)
        conv(f"{name}.F_sur.conv", channels, 1, 3)

    def gate(name: str, channels: int, reduction: int) -> None:
        hidden = channels // reduction
        state[f"{name}.F_glo.fc.0.weight"] = normal(hidden, channels)
        state[f"{name}.F_glo.fc.0.bias"] = normal(hidden)
        state[f"{name}.F_glo.fc.2.weight"] = normal(channels, hidden)
        state[f"{name}.F_glo.fc.2.bias"] = normal(channels)

    def stage(name: str, inputs: int, channels: int, blocks: int, reduction: int) -> None:
        conv_norm_act(f"{name}_0.conv1x1", channels, inputs, 3)
        context(f"{name}_0", channels)
        norm_act(f"{name}_0", 2 * channels)
        conv(f"{name}_0.reduce.conv", channels, 2 * channels, 1)
        gate(f"{name}_0", channels, reduction)
        for i in range(blocks - 1):
            conv_norm_act(f"{name}.{i}.conv1x1", channels // 2, channels, 1)
            context(f"{name}.{i}", channels // 2)
            norm_act(f"{name}.{i}.bn_prelu", channels)
            gate(f"{name}.{i}", channels, reduction)

    for i, inputs in enumerate((3, c1, c1)):
        conv_norm_act(f"level1_{i}", c1, inputs, 3)
    norm_act("b1", c1 + 3)
    stage("level2", c1 + 3, c2, a.num_blocks_2, a.reduction_2)
    norm_act("bn_prelu_2", 2 * c2 + 3)
    stage("level3", 2 * c2 + 3, c3, a.num_blocks_3, a.reduction_3)
    norm_act("bn_prelu_3", 2 * c3)
    conv("classifier.0.conv", a.num_classes, 2 * c3, 1)
    return state


def official_forward(state: State, image: Tensor, a: Architecture) -> Tensor:
    """Return the logits of the authors' network in evaluation."""

    def norm_act(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        weight, bias = state[f"{name}.bn.weight"], state[f"{name}.bn.bias"]
        x = F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-3)
        return F.prelu(x, state[f"{name}.act.weight"])

    def conv_norm_act(name: str, x: Tensor, stride: int) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)
        return norm_act(name, x)

    def context(name: str, x: Tensor, dilation: int) -> Tensor:
        loc, sur = state[f"{name}.F_loc.conv.weight"], state[f"{name}.F_sur.conv.weight"]
        near = F.conv2d(x, loc, padding=1, groups=len(loc))
        far = F.conv2d(x, sur, padding=dilation, dilation=dilation, groups=len(sur))
        return torch.cat([near, far], 1)

    def gate(name: str, x: Tensor) -> Tensor:
        fc = f"{name}.F_glo.fc"
        y = F.adaptive_avg_pool2d(x, 1).flatten(1)
        y = F.relu(F.linear(y, state[f"{fc}.0.weight"], state[f"{fc}.0.bias"]))
        y = torch.sigmoid(F.linear(y, state[f"{fc}.2.weight"], state[f"{fc}.2.bias"]))
        return x * y[:, :, None, None]

    def stage(name: str, x: Tensor, blocks: int, dilation: int) -> tuple[Tensor, Tensor]:
        x = conv_norm_act(f"{name}_0.conv1x1", x, stride=2)
        x = norm_act(f"{name}_0", context(f"{name}_0", x, dilation))
        first = gate(f"{name}_0", F.conv2d(x, state[f"{name}_0.reduce.conv.weight"]))
        last = first
        for i in range(blocks - 1):
            y = conv_norm_act(f"{name}.{i}.conv1x1", last, stride=1)
            y = norm_act(f"{name}.{i}.bn_prelu", context(f"{name}.{i}", y, dilation))
            last = last + gate(f"{name}.{i}", y)
        return first, last

    def pooled(picture: Tensor) -> Tensor:
        return F.avg_pool2d(picture, 3, stride=2, padding=1, count_include_pad=True)

    x = conv_norm_act("level1_0", image, stride=2)
    x = conv_norm_act("level1_1", x, stride=1)
    x = conv_norm_act("level1_2", x, stride=1)
    x = norm_act("b1", torch.cat([x, pooled(image)], 1))
    first, last = stage("level2", x, a.num_blocks_2, a.dilations_2[0])
    x = norm_act("bn_prelu_2", torch.cat([last, first, pooled(pooled(image))], 1))
    first, last = stage("level3", x, a.num_blocks_3, a.dilations_3[0])
    x = norm_act("bn_prelu_3", torch.cat([first, last], 1))
    logits = F.conv2d(x, state["classifier.0.conv.weight"])
    return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)


def picture(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def loaded(state: State, architecture: Architecture = SMALL) -> CGNet:
    model = CGNet(architecture)
    load_official_state_dict(model, state)
    return model.eval()


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(key): value for key, value in state.items()}


def assert_labels_as_the_authors(model: CGNet, state: State, image: Tensor) -> None:
    with torch.inference_mode():
        expected = official_forward(state, image, SMALL)
        assert float(expected.std()) > 0.1  # logits that are all alike would prove nothing
        torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 9)])
def test_the_network_gives_the_authors_logits(size: tuple[int, int]) -> None:
    state = official_state(SMALL)

    assert_labels_as_the_authors(loaded(state), state, picture(*size))


def test_the_papers_network_gives_the_authors_logits() -> None:
    """In double precision: random weights this deep enlarge the last digit of a float."""
    state = official_state(Architecture())
    model = loaded(state, Architecture()).double()
    doubled = {key: value.double() for key, value in state.items()}

    with torch.inference_mode():
        image = picture(32, 48).double()
        expected = official_forward(doubled, image, Architecture())
        torch.testing.assert_close(model(image), expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: f"module.{key}",
        lambda key: key.replace("classifier.0.conv", "classifier.conv"),
        lambda key: key.replace("classifier.0.conv", "classifier.1.conv"),
        lambda key: f"module.{key}".replace("classifier.0.conv", "classifier.conv"),
    ],
    ids=["data_parallel", "pre_release", "dropout", "data_parallel_and_pre_release"],
)
def test_every_spelling_of_the_authors_is_read(change: Callable[[str], str]) -> None:
    state = official_state(SMALL)
    model = loaded(renamed(state, change))

    assert_labels_as_the_authors(model, state, picture(32, 32))


def test_weights_that_do_not_count_batches_are_read() -> None:
    state = official_state(SMALL)
    model = loaded({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})

    assert_labels_as_the_authors(model, state, picture(32, 32))


@pytest.mark.parametrize(
    "key", ["level1_0.conv.weight", "bn_prelu_3.bn.running_var", "level3.2.F_glo.fc.2.bias"]
)
def test_a_missing_weight_is_refused(key: str) -> None:
    state = official_state(SMALL)
    del state[key]

    with pytest.raises(RuntimeError, match="Missing key"):
        loaded(state)


def test_a_weight_of_another_shape_is_refused() -> None:
    state = official_state(SMALL)
    state["level2_0.reduce.conv.weight"] = torch.zeros(16, 31, 1, 1)

    with pytest.raises(RuntimeError, match="size mismatch"):
        loaded(state)


def test_weights_of_a_deeper_network_are_refused() -> None:
    with pytest.raises(RuntimeError, match="Unexpected key"):
        loaded(
            official_state(
                Architecture(**SMALL.to_dict() | {"num_blocks_3": 5, "widths": (8, 16, 32)})
            )
        )


def test_a_file_of_the_authors_compacts_to_their_logits(tmp_path: Path) -> None:
    """With deaths as L2 decay leaves them: whole filters, and norms that leave a constant."""
    camvid = replace(SMALL, num_classes=11, dilations_2=(2,), dilations_3=(4,))
    state = official_state(camvid)
    for name in ("level1_1.conv", "level3_0.conv1x1.conv", "level3.1.F_loc.conv"):
        state[f"{name}.weight"][::2] *= 1e-40
    for name in ("b1", "level2.0.bn_prelu", "level3.2.bn_prelu", "bn_prelu_3"):
        state[f"{name}.bn.weight"][1::3] = 0
    path = tmp_path / "model_800.pth"
    torch.save({"epoch": 800, "model": state}, path)

    compact(CompactOptions(str(path)))
    network, _ = load_weights((tmp_path / "model_800.compact.safetensors").read_bytes())

    built = sum(value.numel() for value in CGNet(camvid).parameters())
    assert sum(value.numel() for value in network.parameters()) < 0.9 * built
    for size in ((33, 47), (32, 32)):
        expected = official_forward(state, picture(*size), camvid)
        with torch.inference_mode():
            torch.testing.assert_close(network(picture(*size)), expected, atol=1e-5, rtol=1e-5)
