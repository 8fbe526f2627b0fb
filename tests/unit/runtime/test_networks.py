"""Networks from files and folders; what names no network is told with what would."""

import hashlib
import io
from pathlib import Path

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError, PipelineError, UsageError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.provenance import Provenance
from pipeline.learning.weights import WEIGHTS_FILE, Deployment, pack_weights
from pipeline.runtime.networks import Network, open_network
from tests.unit.learning.test_official_weights import official_state

ARCHITECTURE = Architecture(3, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
DEPLOYMENT = Deployment(ARCHITECTURE, (0.0,) * 3, (1.0,) * 3, ("a", "b", "c"), ((0, 0, 0),) * 3)
PROVENANCE = Provenance("d", "f", (2, 3), {"train": 1}, {"epochs": 1}, 0, 0.5, (0.5, None, 0.5))


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """The content of a weights file in ``tmp_path``, which is a trial's folder."""
    content = pack_weights(CGNet(ARCHITECTURE), DEPLOYMENT, PROVENANCE)
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    (tmp_path / "net.safetensors").write_bytes(content)
    return content


def opened(reference: object, quirk: bool = False) -> Network:
    return open_network(str(reference), Path("state"), official_preprocessing=quirk)


@pytest.mark.parametrize("name", [".", "net.safetensors", WEIGHTS_FILE])
def test_a_folder_and_a_file_are_networks(tmp_path: Path, weights: bytes, name: str) -> None:
    network = opened(tmp_path / name)

    assert network.weights == weights
    assert network.digest == hashlib.sha256(weights).hexdigest()
    assert network.segmenter.deployment == DEPLOYMENT
    assert network.provenance == PROVENANCE
    assert network.num_params == sum(p.numel() for p in CGNet(ARCHITECTURE).parameters())


def test_a_file_of_the_working_folder_is_found(
    tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert opened("net.safetensors").weights == weights


def test_the_authors_file_is_a_network_without_provenance(tmp_path: Path) -> None:
    architecture = Architecture(11, num_blocks_2=2, num_blocks_3=2, widths=(8, 16, 32))
    buffer = io.BytesIO()
    torch.save({"model": official_state(architecture)}, buffer)
    (tmp_path / "model_1.pth").write_bytes(buffer.getvalue())
    quirky, plain = (opened(tmp_path / "model_1.pth", quirk) for quirk in (True, False))

    assert quirky.provenance is None
    assert quirky.segmenter.deployment.mean == plain.segmenter.deployment.mean[::-1]


@pytest.mark.parametrize(
    "reference", ["missing.safetensors", "no/such/folder", "champion", "deadbeef", "empty", ""]
)
def test_what_is_no_network_is_told_with_what_would_be(
    tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=r"there is no network .*MLflow run id"):
        opened(reference)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"], "looking makes no folder"


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"garbage")

    with pytest.raises(DataError, match="is not a network of this program"):
        opened(tmp_path / "net.safetensors")


def test_the_authors_preprocessing_is_for_their_files(tmp_path: Path, weights: bytes) -> None:
    with pytest.raises(PipelineError, match="--official-preprocessing is for"):
        opened(tmp_path / "net.safetensors", quirk=True)
