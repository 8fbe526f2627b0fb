"""The command as it is typed, without a process of its own: torch takes its time to import."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.compact import CompactOptions, compact
from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError, UsageError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.compact import compaction
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import Deployment, load_weights, pack_weights

ARCHITECTURE = Architecture(
    num_classes=3, num_blocks_2=1, num_blocks_3=2, widths=(4, 8, 8), reduction_2=2, reduction_3=2
)
DEPLOYMENT = Deployment(
    ARCHITECTURE,
    mean=(90.0, 95.0, 100.0),
    std=(70.0, 71.0, 72.0),
    class_names=("ground", "wall", "sky"),
    palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = CGNet(ARCHITECTURE)
    nn.init.zeros_(model.get_parameter("stage_3.blocks.0.context.joint.norm.weight"))
    path = tmp_path / "trained.safetensors"
    path.write_bytes(pack_weights(model, DEPLOYMENT))
    return path


def test_a_network_is_compacted_into_a_file_that_labels_alike(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compact(CompactOptions(str(weights), fold_bn=True)) == 0

    output = weights.with_suffix(".compact.safetensors")
    original, smaller = (Segmenter.from_bytes(path.read_bytes()) for path in (weights, output))
    assert isinstance(smaller.model, CompactCGNet)
    assert smaller.deployment == DEPLOYMENT
    images = torch.randint(256, (2, 33, 21, 3), dtype=torch.uint8).numpy()
    assert (original.label(images) == smaller.label(images)).all()
    said = capsys.readouterr().out
    before, after = (
        sum(p.numel() for p in segmenter.model.parameters()) for segmenter in (original, smaller)
    )
    assert f"parameters: {before:,} to {after:,}, " in said
    assert said.endswith(f"written: {output}\n")


def test_a_network_that_came_out_wrong_is_not_written(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite = compaction.rewrite

    def wrong(*words: object) -> CompactCGNet:
        network = rewrite(*words)
        network.classifier.weight.data[0] += 0.01
        return network

    monkeypatch.setattr(compaction, "rewrite", wrong)

    with pytest.raises(DataError, match="nothing is kept"):
        compact(CompactOptions(str(weights)))
    assert list(weights.parent.iterdir()) == [weights]


@pytest.mark.parametrize("output", ["small.onnx", "small"])
def test_another_form_of_output_is_refused(weights: Path, output: str) -> None:
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        compact(CompactOptions(str(weights), output=weights.parent / output))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no network"):
        compact(CompactOptions(str(tmp_path / "none.pth")))


def test_the_original_and_other_files_stay(weights: Path) -> None:
    before = weights.read_bytes()
    output = weights.parent / "new" / "small.safetensors"
    compact(CompactOptions(str(weights), output=output))

    assert weights.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert isinstance(load_weights(output.read_bytes())[0], CompactCGNet)
