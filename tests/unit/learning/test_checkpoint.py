"""What a training leaves on disk, and what is refused as its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.errors import DataError
from pipeline.core.peer import Network, Peer
from pipeline.learning.cgnet import CGNet
from pipeline.learning.checkpoint import (
    CHECKPOINT_FILE,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.folder import Folder
from pipeline.learning.network import build
from pipeline.learning.weights import WEIGHTS_FILE, Deployment, load_weights, save_weights

ARCHITECTURE = Architecture(num_classes=3, num_blocks_2=2, num_blocks_3=2, widths=(8, 16, 32))
SPEC = TrialSpec(ARCHITECTURE, DataConfig("file:///data", "abc"), TrainConfig(epochs=3), seed=5)
RESULTS = (
    EpochResult(1, 3, 1.25, 0.25, (0.5, 0.0, 0.25), 2.0, 1.0),
    EpochResult(2, 3, 0.75, 0.5, (0.5, 0.25, 0.75), 2.5, 1.5),
)
DEPLOYMENT = Deployment(
    architecture=ARCHITECTURE,
    mean=(93.5, 94.25, 95.0),
    std=(70.0, 71.0, 72.0),
    class_names=("ground", "wall", "sky"),
    palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
)


@pytest.fixture
def folder(tmp_path: Path, folder_at: Callable[[Path], Folder]) -> Folder:
    return folder_at(tmp_path)


def trained() -> tuple[CGNet, torch.optim.Optimizer]:
    """Return a network and its optimizer after two steps: neither is in its first state."""
    torch.manual_seed(0)
    model = CGNet(ARCHITECTURE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def checkpoint(results: tuple[EpochResult, ...] = RESULTS) -> Checkpoint:
    model, optimizer = trained()
    return Checkpoint(SPEC.id, results, model.state_dict(), optimizer.state_dict())


@pytest.fixture
def weights(folder: Folder, tmp_path: Path) -> bytes:
    save_weights(folder, trained()[0], DEPLOYMENT)
    return (tmp_path / WEIGHTS_FILE).read_bytes()


def with_deployment(weights: bytes, **fields: Any) -> bytes:
    """Return a weights file whose description is changed and whose tensors are not."""
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    description = json.loads(header["__metadata__"]["deployment"]) | fields
    return safetensors.torch.save(
        safetensors.torch.load(weights), metadata={"deployment": json.dumps(description)}
    )


def test_a_training_that_saved_nothing_has_no_checkpoint(folder: Folder) -> None:
    assert load_checkpoint(folder, SPEC) is None


def test_a_checkpoint_reads_back_as_it_was_saved(folder: Folder) -> None:
    saved = checkpoint()
    save_checkpoint(folder, saved)

    loaded = load_checkpoint(folder, SPEC)

    assert loaded is not None
    assert (loaded.spec_id, loaded.results) == (SPEC.id, RESULTS)
    torch.testing.assert_close(loaded.model, dict(saved.model), rtol=0, atol=0)
    torch.testing.assert_close(loaded.optimizer["state"], saved.optimizer["state"], rtol=0, atol=0)
    assert loaded.optimizer["param_groups"] == saved.optimizer["param_groups"]


def test_a_later_checkpoint_takes_the_place_of_the_one_before(folder: Folder) -> None:
    save_checkpoint(folder, checkpoint(RESULTS[:1]))
    save_checkpoint(folder, checkpoint(RESULTS))

    loaded = load_checkpoint(folder, SPEC)
    assert loaded is not None
    assert loaded.results == RESULTS


@pytest.mark.parametrize(
    "other",
    [replace(SPEC, seed=6), replace(SPEC, training=TrainConfig(epochs=4))],
    ids=["seed", "epochs"],
)
def test_the_checkpoint_of_another_training_is_refused_by_both_ids(
    folder: Folder, other: TrialSpec
) -> None:
    save_checkpoint(folder, checkpoint())

    with pytest.raises(DataError, match=f"{SPEC.id}, this is {other.id}"):
        load_checkpoint(folder, other)


def test_a_half_written_first_checkpoint_is_none(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / f"{CHECKPOINT_FILE}.partial").write_bytes(b"half")

    assert load_checkpoint(folder, SPEC) is None


def test_a_half_written_later_checkpoint_leaves_the_one_before(
    folder: Folder, tmp_path: Path
) -> None:
    save_checkpoint(folder, checkpoint(RESULTS[:1]))
    (tmp_path / f"{CHECKPOINT_FILE}.partial").write_bytes(b"half")

    loaded = load_checkpoint(folder, SPEC)
    assert loaded is not None
    assert loaded.results == RESULTS[:1]


def test_a_write_that_fails_leaves_the_checkpoint_before(folder: Folder, tmp_path: Path) -> None:
    save_checkpoint(folder, checkpoint(RESULTS[:1]))
    (tmp_path / f"{CHECKPOINT_FILE}.partial").mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="partial"):
        save_checkpoint(folder, checkpoint(RESULTS))

    loaded = load_checkpoint(folder, SPEC)
    assert loaded is not None
    assert loaded.results == RESULTS[:1]


def test_saving_leaves_nothing_but_the_checkpoint(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / f"{CHECKPOINT_FILE}.partial").write_bytes(b"half")
    save_checkpoint(folder, checkpoint())

    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(1000)], ids=["empty", "text", "zeros"])
def test_what_is_no_checkpoint_is_refused_by_name(
    folder: Folder, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(content)

    with pytest.raises(DataError, match=CHECKPOINT_FILE):
        load_checkpoint(folder, SPEC)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2]], ids=["other keys", "list"])
def test_a_checkpoint_of_another_program_is_refused_by_name(
    folder: Folder, tmp_path: Path, content: Any
) -> None:
    torch.save(content, tmp_path / CHECKPOINT_FILE)

    with pytest.raises(DataError, match=CHECKPOINT_FILE):
        load_checkpoint(folder, SPEC)


def test_weights_give_the_logits_of_the_network_they_were_saved_from(weights: bytes) -> None:
    model, _ = trained()
    image = torch.randn(2, 3, 17, 19)

    loaded, _ = load_weights(weights)
    with torch.inference_mode():
        assert torch.equal(loaded(image), model.eval()(image))


@pytest.mark.parametrize(
    "network",
    [replace(ARCHITECTURE, surround="last", residual="local", pointwise=True), Peer("enet", 3)],
    ids=["switched", "peer"],
)
def test_weights_of_other_networks_read_back(
    folder: Folder, tmp_path: Path, network: Network
) -> None:
    torch.manual_seed(0)
    model = build(network).eval()
    save_weights(folder, model, replace(DEPLOYMENT, architecture=network))
    image = torch.randn(1, 3, 16, 16)

    loaded, deployment = load_weights((tmp_path / WEIGHTS_FILE).read_bytes())
    assert deployment.architecture == network
    with torch.inference_mode():
        assert torch.equal(loaded(image), model(image))


def test_weights_of_an_unknown_peer_are_refused(weights: bytes) -> None:
    with pytest.raises(DataError, match="there is no peer 'unet'"):
        load_weights(with_deployment(weights, architecture={"peer": "unet", "num_classes": 3}))


def test_weights_carry_what_is_needed_to_use_them(weights: bytes) -> None:
    assert load_weights(weights)[1] == DEPLOYMENT


def test_loaded_weights_are_ready_to_predict(weights: bytes) -> None:
    assert not any(module.training for module in load_weights(weights)[0].modules())


def test_weights_open_with_safetensors_alone(weights: bytes) -> None:
    tensors = safetensors.torch.load(weights)

    assert tensors["classifier.weight"].shape == (3, 64, 1, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        bytes(64),
        b"\xff" * 64,
        safetensors.torch.save({"a": torch.zeros(2)}),
        safetensors.torch.save({"a": torch.zeros(2)}, metadata={"deployment": "no json"}),
        safetensors.torch.save({"a": torch.zeros(2)}, metadata={"deployment": "[]"}),
    ],
    ids=["empty", "text", "zeros", "ones", "no metadata", "text metadata", "other metadata"],
)
def test_what_is_no_weights_file_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(content)


def test_weights_with_another_networks_description_are_refused(weights: bytes) -> None:
    other = replace(ARCHITECTURE, num_blocks_3=3).to_dict()

    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(weights, architecture=other))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("architecture"),
        "mean",
        "class_names",
        "palette",
    ],
)
def test_weights_with_a_gap_in_their_description_are_refused(weights: bytes, name: str) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(weights, **{name: None}))


def test_weights_of_a_network_that_cannot_be_are_refused(weights: bytes) -> None:
    impossible = ARCHITECTURE.to_dict() | {"num_blocks_2": 0}

    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(weights, architecture=impossible))


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": [1, 2, 3, 4]},
        {"std": ["1", 2, 3]},
        {"class_names": [1, 2, 3]},
        {"palette": [[0, 0, 256]] * 3},
        {"architecture": ARCHITECTURE.to_dict() | {"num_blocks_2": 60_000}},
        {"architecture": ARCHITECTURE.to_dict() | {"num_blocks_2": 10**9}},
        {"architecture": ARCHITECTURE.to_dict() | {"widths": [8, 10**6, 32]}},
        {"architecture": {"peer": "enet", "num_classes": 10**9}},
    ],
    ids=repr,
)
def test_weights_that_say_what_cannot_be_are_refused_before_it_is_built(
    weights: bytes, fields: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(weights, **fields))


@pytest.mark.parametrize("missing", [1, 5000])
def test_weights_that_are_cut_off_are_refused(weights: bytes, missing: int) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(weights[:-missing])


@pytest.fixture
def compacted(folder: Folder, tmp_path: Path) -> tuple[CompactCGNet, bytes]:
    model, _ = trained()
    for name in ("stage_2.blocks.0.context.joint.norm", "fuse_3.norm"):
        torch.nn.init.zeros_(model.get_parameter(f"{name}.weight")[:5])
    network = compact(model, ARCHITECTURE, fold_bn=True).network
    save_weights(folder, network, DEPLOYMENT)
    return network, (tmp_path / WEIGHTS_FILE).read_bytes()


def test_a_compacted_network_is_opened_as_what_it_is(compacted: tuple[CompactCGNet, bytes]) -> None:
    network, content = compacted
    loaded, deployment = load_weights(content)
    image = torch.randn(2, 3, 17, 19)

    assert isinstance(loaded, CompactCGNet)
    assert (loaded.shape, deployment) == (network.shape, DEPLOYMENT)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


@pytest.mark.parametrize("shape", ["no shape", [], {}, {"stages": [1, 2]}, None])
def test_a_shape_that_is_none_is_refused(
    compacted: tuple[CompactCGNet, bytes], shape: object
) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(compacted[1], compact=shape))


@pytest.mark.parametrize(
    "fields", [{"stem_border": []}, {"reads": [10**6]}, {"stem": [0] * 3 + [10**12]}], ids=repr
)
def test_a_compacted_shape_that_cannot_be_is_refused(
    compacted: tuple[CompactCGNet, bytes], fields: dict[str, Any]
) -> None:
    model, content = compacted
    shape = json.loads(json.dumps(model.shape.to_dict())) | fields

    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_weights(with_deployment(content, compact=shape))


def test_a_checkpoint_whose_text_is_none_is_refused(folder: Folder, tmp_path: Path) -> None:
    save_checkpoint(folder, checkpoint())
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes().replace(b"data.pkl", b"d\xe1ta.pkl"))

    with pytest.raises(DataError, match=rf"{CHECKPOINT_FILE} in .* cannot be read"):
        load_checkpoint(folder, SPEC)
