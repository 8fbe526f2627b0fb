"""Weights by run and by registered model, on a real SQLite store."""

from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError, ServiceUnavailable, UsageError
from pipeline.core.manifest import DatasetInfo
from pipeline.learning.cgnet import CGNet
from pipeline.learning.onnx_export import ONNX_FILE
from pipeline.learning.provenance import Provenance
from pipeline.learning.weights import WEIGHTS_FILE, Deployment, pack_weights
from pipeline.runtime.champion import ORIGINAL_FILE, Champion
from pipeline.runtime.compacted import compacted, lighter
from pipeline.runtime.confirmations import HeldOutScore
from pipeline.runtime.model_card import CARD_FILE
from pipeline.runtime.networks import network_of, open_network
from pipeline.runtime.registration import register_champion
from pipeline.runtime.registry import model_weights, run_weights
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
    return MlflowClient()


def new_run(client: MlflowClient, tags: dict[str, str]) -> str:
    return str(client.create_run("0", tags=tags).info.run_id)


ARCHITECTURE = Architecture(2, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)


def champion(folder: Path, study: str, mean_iou: float, budget: int = 25_000) -> Champion:
    """A champion as a search finds it, not confirmed; its weights are a function of the study."""
    torch.manual_seed(len(study))
    classes = INFO.classes
    deployment = Deployment(ARCHITECTURE, INFO.mean, INFO.std, classes.names, classes.palette)
    provenance = Provenance("squares", "f", (32, 48), {"train": 8}, {}, 0, mean_iou, (0.4, 0.6))
    content = pack_weights(CGNet(ARCHITECTURE), deployment, provenance)
    (folder / study).mkdir(exist_ok=True)
    (folder / study / WEIGHTS_FILE).write_bytes(content)
    uri = str(folder / study)
    return Champion(study, budget, network_of(content, uri), uri, mean_iou)


def named(name: str) -> DatasetInfo:
    return replace(INFO, name=name)


def test_a_champion_is_found_by_its_alias_its_version_and_its_study(
    client: MlflowClient, tmp_path: Path
) -> None:
    best, run_id = champion(tmp_path, "first", 0.5), new_run(client, {})

    uri = register_champion(best, INFO, run_id=run_id)
    assert uri == "models:/cgnet-squares@champion"
    for reference in (uri, "models:/cgnet-squares/1", f"{uri}-25k", run_id):
        network = open_network(reference, tmp_path / "state", official_preprocessing=False)
        assert network.weights == best.network.weights
    found, notes = model_weights(uri)
    assert found == best.network.weights
    assert (notes["version"], notes["val_mean_iou"]) == ("1", "0.5000")
    assert register_champion(best, INFO, run_id=run_id) == uri
    assert len(client.search_model_versions("name = 'cgnet-squares'")) == 1


def test_an_alias_goes_to_no_worse_network_and_to_no_other_budget(
    client: MlflowClient, tmp_path: Path
) -> None:
    info = named("aliases")

    def register(study: str, mean_iou: float, budget: int = 25_000) -> str:
        best = champion(tmp_path, study, mean_iou, budget)
        return register_champion(best, info, run_id=new_run(client, {}))

    assert register("good", 0.5) == "models:/cgnet-aliases@champion"
    assert register("worse one", 0.4) == "models:/cgnet-aliases/2"
    assert register("large", 0.9, 1_500_000) == "models:/cgnet-aliases@champion-1500k"
    holder = client.get_model_version_by_alias("cgnet-aliases", "champion")
    assert holder.tags["study"] == "good"
    assert register("better than that", 0.6) == "models:/cgnet-aliases@champion"


def test_a_confirmed_champion_ships_with_card_and_onnx_and_says_what_it_is(
    client: MlflowClient, tmp_path: Path
) -> None:
    score = HeldOutScore(0.41, (0.32, None), 7)
    best = replace(
        champion(tmp_path, "confirmed", 0.5), seeds=(1, 2, 3), spread=0.012, held_out=score
    )
    uri = register_champion(best, named("full"), run_id=new_run(client, {}))
    version = client.get_model_version_by_alias("cgnet-full", "champion")
    files = Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts", dst_path=str(tmp_path)))
    card = (files / "MODEL_CARD.md").read_text()

    assert {path.name for path in files.iterdir()} == {CARD_FILE, ONNX_FILE, WEIGHTS_FILE}
    assert "Their mean is 50.00 %, standard deviation 1.20: quote that." in card
    assert "On the test split, scored once: 41.00 %." in card
    assert "| dark | 40.0 | 32.0 |" in card
    assert "| light | 60.0 | - |" in card
    assert version.tags["weights_sha256"] == best.network.digest
    assert "Mean IoU on val 50.00 ± 1.20 % over 3 trainings" in version.description
    assert "licence" in version.description


def test_a_half_dead_champion_ships_compacted_with_the_original_beside_it(
    client: MlflowClient, tmp_path: Path
) -> None:
    alive = champion(tmp_path, "half dead", 0.5)
    model = alive.network.segmenter.model
    with torch.no_grad():
        for name in ("weight", "bias"):
            for part in ("stem.0", "stem.1", "stage_3.down.context.joint"):
                model.get_parameter(f"{part}.norm.{name}")[::2] = 0
    dead = network_of(
        pack_weights(model, alive.network.segmenter.deployment, alive.network.provenance), "dead"
    )
    best = replace(alive, network=dead, compacted=lighter(dead, 25_000))
    assert best.compacted is not None
    run_id = new_run(client, {})
    uri = register_champion(best, named("dead"), run_id=run_id)
    assert register_champion(best, named("dead"), run_id=run_id) == uri

    (version,) = client.search_model_versions("name = 'cgnet-dead'")
    files = Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts", dst_path=str(tmp_path)))
    assert (files / ORIGINAL_FILE).read_bytes() == dead.weights
    assert (files / WEIGHTS_FILE).read_bytes() == best.compacted.weights
    sizes = (int(version.tags[name]) for name in ("deployed_parameters", "num_params"))
    assert next(sizes) == best.compacted.num_params < next(sizes) == dead.num_params
    assert all(float(version.tags[name]) > 0 for name in ("cpu_ms", "deployed_cpu_ms"))
    pictures = torch.randint(256, (2, 32, 48, 3), dtype=torch.uint8).numpy()
    served = mlflow.pyfunc.load_model(uri).predict(pictures)
    assert (served == dead.segmenter.label(pictures)).all()


def test_what_is_hardly_dead_ships_as_it_is(tmp_path: Path) -> None:
    """One dead channel: removing it would cost more time than it saves."""
    alive = champion(tmp_path, "alive", 0.5).network
    with torch.no_grad():
        for name in ("weight", "bias"):
            alive.segmenter.model.get_parameter(f"stage_2.down.context.joint.norm.{name}")[0] = 0

    smaller = compacted(alive).network
    assert smaller.num_params < alive.num_params
    assert lighter(alive, alive.num_params) is None
    found = lighter(alive, smaller.num_params)
    assert found is not None, "a budget on deployed size holds for what ships"
    assert found.weights == smaller.weights


def test_a_version_keeps_what_was_said_of_it(client: MlflowClient, tmp_path: Path) -> None:
    """The same weights, of which more is known later, are another version."""
    best, run_id = champion(tmp_path, "kept", 0.5), new_run(client, {})
    for known in (best, best, replace(best, mean_iou=0.4)):
        register_champion(known, named("kept"), run_id=run_id)
    versions = client.search_model_versions("name = 'cgnet-kept'")

    assert {version.tags["val_mean_iou"] for version in versions} == {"0.5000", "0.4000"}
    assert len(versions) == 2
    holder = client.get_model_version_by_alias("cgnet-kept", "champion")
    assert holder.tags["val_mean_iou"] == "0.4000", "a study takes its word back"


def test_weights_that_are_not_those_registered_are_refused(
    client: MlflowClient, tmp_path: Path
) -> None:
    """By the run, by the registry, and by MLflow's own loading."""
    best, run_id = champion(tmp_path, "changed", 0.5), new_run(client, {})
    uri = register_champion(best, named("changed"), run_id=run_id)
    other = champion(tmp_path, "another study", 0.5).network.weights
    (tmp_path / "changed" / WEIGHTS_FILE).write_bytes(other)
    served = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / "served"))
    mlflow.pyfunc.load_model(served)
    (Path(served) / "artifacts" / WEIGHTS_FILE).write_bytes(other)

    with pytest.raises(DataError, match=f"registered was {best.network.digest}"):
        open_network(run_id, tmp_path / "state", official_preprocessing=False)
    client.set_model_version_tag("cgnet-changed", "1", "weights_sha256", "0" * 64)
    with pytest.raises(DataError, match=f"registered was {'0' * 64}"):
        model_weights(uri)
    with pytest.raises(Exception, match=f"registered was {best.network.digest}"):
        mlflow.pyfunc.load_model(served)


def test_a_run_without_weights_is_told_with_its_state(client: MlflowClient) -> None:
    with pytest.raises(UsageError, match=r"\(stopped\) has no weights"):
        run_weights(new_run(client, {"cgnet.state": "stopped"}))


def test_a_trial_names_its_folder(client: MlflowClient) -> None:
    assert run_weights(new_run(client, {WEIGHTS_TAG: "s3://b/00001"})) == ("s3://b/00001", None)


def test_an_unknown_run_is_told(client: MlflowClient) -> None:
    with pytest.raises(UsageError, match=f"MLflow has no run {'0' * 32}"):
        run_weights("0" * 32)


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


def test_weights_whose_store_is_away_are_not_said_to_be_missing(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client.create_registered_model("away")
    client.create_model_version("away", "s3://bucket/model")

    with pytest.raises(ServiceUnavailable, match=r"does not hand out models:/away/1 .*:1/"):
        model_weights("models:/away/1")
