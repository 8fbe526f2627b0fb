"""Weights by run and by registered model, on a real SQLite store."""

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.errors import DataError, UsageError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.weights import WEIGHTS_FILE, Deployment, pack_weights
from pipeline.runtime.champion import register_champion
from pipeline.runtime.networks import open_network
from pipeline.runtime.registry import model_weights, run_weights_uri
from pipeline.runtime.study import State, TrialRecord
from pipeline.runtime.tracking import WEIGHTS_TAG
from tests.integration.test_tracking import INFO


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MLflow's database, which takes a while to make."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = f"sqlite:///{store}/mlflow.db"
    monkeypatch.chdir(store)  # artifacts go beside the database
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return MlflowClient()


def new_run(client: MlflowClient, tags: dict[str, str]) -> str:
    return str(client.create_run("0", tags=tags).info.run_id)


def test_a_champion_is_found_by_its_alias_its_version_and_its_study(
    client: MlflowClient, tmp_path: Path
) -> None:
    architecture = Architecture(2, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
    classes = INFO.classes
    deployment = Deployment(architecture, INFO.mean, INFO.std, classes.names, classes.palette)
    weights = pack_weights(CGNet(architecture), deployment)
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / WEIGHTS_FILE).write_bytes(weights)
    results = (EpochResult(1, 1, 1.0, 0.5, (0.5, 0.5), 1.0, 1.0),)
    trial = TrialRecord(0, architecture, 1, State.COMPLETE, results, (1,))
    run_id = new_run(client, {})

    uri = register_champion(trial, INFO, run_id=run_id, checkpoints=str(tmp_path / "trial"))
    assert uri == "models:/cgnet-squares@champion"
    for reference in (uri, "models:/cgnet-squares/1", run_id):
        network = open_network(reference, tmp_path / "state", official_preprocessing=False)
        assert network.weights == weights
    found, notes = model_weights(uri)
    assert found == weights
    assert (notes["version"], notes["val_mean_iou"]) == ("1", "0.5000")


def test_a_run_without_weights_is_told_with_its_state(client: MlflowClient) -> None:
    with pytest.raises(UsageError, match=r"\(stopped\) has no weights"):
        run_weights_uri(new_run(client, {"cgnet.state": "stopped"}))


def test_a_trial_names_its_folder(client: MlflowClient) -> None:
    assert run_weights_uri(new_run(client, {WEIGHTS_TAG: "s3://b/00001"})) == "s3://b/00001"


def test_an_unknown_run_is_told(client: MlflowClient) -> None:
    with pytest.raises(UsageError, match=f"MLflow has no run {'0' * 32}"):
        run_weights_uri("0" * 32)


@pytest.mark.parametrize("uri", ["models:/none@champion", "models:/none/1", "models:/none"])
def test_an_unknown_model_is_told_with_what_makes_one(client: MlflowClient, uri: str) -> None:
    with pytest.raises(UsageError, match=r"MLflow has no model .*pipeline\.search"):
        model_weights(uri)


def test_a_model_of_another_program_is_refused(client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "MLmodel").write_text("flavors: {}\n")
    client.create_registered_model("other")
    client.create_model_version("other", str(tmp_path / "other"))

    with pytest.raises(DataError, match=WEIGHTS_FILE):
        model_weights("models:/other/1")
