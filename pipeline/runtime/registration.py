"""Champions as versions of a registered MLflow model, with aliases that only better ones take."""

import importlib.metadata
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import pipeline
from pipeline.core.manifest import DatasetInfo
from pipeline.learning.weights import DIGEST, WEIGHTS_FILE
from pipeline.runtime.champion import ORIGINAL_FILE, Champion, takes_over
from pipeline.runtime.compacted import times
from pipeline.runtime.packaging import package
from pipeline.runtime.registry import DIGEST_TAG
from pipeline.runtime.tracking import WEIGHTS_TAG

ALIAS = "champion"
SERVING_PACKAGES = ("mlflow", "numpy", "pyarrow", "safetensors", "torch")


def register_champion(champion: Champion, info: DatasetInfo, *, run_id: str) -> str:
    """Register a champion as a version of ``cgnet-<dataset>``; give it the aliases it may take.

    These are ``champion`` and ``champion-<budget>``. A champion of which all this is known already
    stays the version it is.

    Args:
        champion: the network, and what is known of it.
        info: of the data set it was trained on.
        run_id: MLflow run of the study.

    Returns:
        The model's URI by the first of its aliases, by its version if it has taken none.
    """
    name, facts = f"cgnet-{info.name}", champion.facts(info)
    client = MlflowClient()
    version = _version_of(client, name, facts)
    if version is None:
        version = _log(client, champion, facts, name, run_id)
        client.update_model_version(name, version, champion.description(info))
        for key, value in (facts | _latency(champion, info)).items():
            client.set_model_version_tag(name, version, key, value)
    tags = {WEIGHTS_TAG: champion.weights_uri, DIGEST_TAG: champion.network.digest}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    taken = _take_aliases(client, name, version, facts)
    return f"models:/{name}@{taken[0]}" if taken else f"models:/{name}/{version}"


def _latency(champion: Champion, info: DatasetInfo) -> dict[str, str]:
    """Return how long both networks take here, which no two measurements agree on: no facts."""
    if champion.compacted is None:
        return {}
    built, deployed = times((champion.network, champion.compacted), *info.image_size)
    return {"cpu_ms": f"{built * 1e3:.2f}", "deployed_cpu_ms": f"{deployed * 1e3:.2f}"}


def _take_aliases(
    client: MlflowClient, name: str, version: str, facts: Mapping[str, str]
) -> list[str]:
    """Give a version the aliases it may take; return them, ``champion`` first."""
    of_budget = f"{ALIAS}-{alias_of(int(facts['budget']))}"
    taken = []
    for alias in (ALIAS, of_budget):
        holder = _holder(client, name, alias)
        if holder is None or takes_over(facts, holder.tags):
            client.set_registered_model_alias(name, alias, version)
            taken.append(alias)
    return taken


def alias_of(budget: int) -> str:
    """Return a budget as part of an alias: 500000 is ``500k``, 496306 itself."""
    return str(budget) if budget % 1000 else f"{budget // 1000}k"


def _holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException:  # nobody has it: MLflow has no way to ask
        return None


def _version_of(client: MlflowClient, name: str, facts: Mapping[str, str]) -> str | None:
    """Return the version of which all this is known, if there is one."""
    matching = f"name = '{name}' and tags.weights_sha256 = '{facts['weights_sha256']}'"
    for found in client.search_model_versions(matching):
        if facts.items() <= found.tags.items():
            return str(found.version)
    return None


def _log(
    client: MlflowClient, champion: Champion, facts: Mapping[str, str], name: str, run_id: str
) -> str:
    """Log the network as a model of the run; one that was confirmed with all that it ships as."""
    network = replace(champion.shipped, notes=facts)
    files = package(network) if champion.seeds else {WEIGHTS_FILE: network.weights}
    if champion.compacted:
        files[ORIGINAL_FILE] = champion.network.weights
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow.start_run(run_id=run_id),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        logged = mlflow.pyfunc.log_model(
            name="champion",
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={file: str(Path(folder, file)) for file in files},
            code_paths=[str(Path(str(pipeline.__file__)).parent)],
            signature=signature,
            model_config={DIGEST: network.digest},
            pip_requirements=[
                f"{package}=={importlib.metadata.version(package)}" for package in SERVING_PACKAGES
            ],
        )
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, logged.model_uri, run_id, model_id=logged.model_id)
    return str(version.version)
