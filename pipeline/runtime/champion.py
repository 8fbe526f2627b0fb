"""The best network within budget, as a registered MLflow model with the alias ``champion``."""

import hashlib
import importlib.metadata
import tempfile
import warnings
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import pipeline
from pipeline.core.manifest import DatasetInfo
from pipeline.learning.folder import read_bytes
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.storage import open_folder
from pipeline.runtime.study import TrialRecord
from pipeline.runtime.tracking import WEIGHTS_TAG

ALIAS = "champion"
_SERVING_PACKAGES = ("mlflow", "numpy", "pillow", "pyarrow", "safetensors", "torch")


def register_champion(
    trial: TrialRecord, info: DatasetInfo, *, run_id: str, checkpoints: str
) -> str:
    """Log a complete trial's network as a model of the study's run and make it the champion.

    The alias goes to the study that ran last: whoever searches again means to replace what is
    there. A network that is a version already becomes the champion as that version.

    Args:
        trial: the champion.
        info: of the data set it was trained on.
        run_id: MLflow run of the study.
        checkpoints: URI of the trial's folder.

    Returns:
        The model's URI, ``models:/cgnet-<dataset>@champion``.
    """
    name = f"cgnet-{info.name}"
    weights = read_bytes(open_folder(checkpoints), WEIGHTS_FILE)
    digest = hashlib.sha256(weights).hexdigest()
    client = MlflowClient()
    version = _version_of(client, name, digest)
    if version is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, WEIGHTS_FILE)
            path.write_bytes(weights)
            version = _log(client, path, name, run_id)
        for key, value in _facts(trial, info, digest).items():
            client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, ALIAS, version)
    client.set_tag(run_id, WEIGHTS_TAG, checkpoints)
    return f"models:/{name}@{ALIAS}"


def _version_of(client: MlflowClient, name: str, digest: str) -> str | None:
    """Return the version that has these very weights, if there is one."""
    matching = f"name = '{name}' and tags.weights_sha256 = '{digest}'"
    found = client.search_model_versions(matching, max_results=1)
    return str(found[0].version) if found else None


def _log(client: MlflowClient, weights: Path, name: str, run_id: str) -> str:
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
    )
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logged = mlflow.pyfunc.log_model(
            name="champion",
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"weights": str(weights)},
            code_paths=[str(Path(str(pipeline.__file__)).parent)],
            signature=signature,
            pip_requirements=[
                f"{package}=={importlib.metadata.version(package)}" for package in _SERVING_PACKAGES
            ],
        )
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, logged.model_uri, run_id, model_id=logged.model_id)
    return str(version.version)


def _facts(trial: TrialRecord, info: DatasetInfo, digest: str) -> dict[str, str]:
    return {
        "weights_sha256": digest,
        "architecture": trial.architecture.label,
        "num_params": str(trial.num_params),
        "val_mean_iou": f"{trial.mean_iou:.4f}",
        "data_fingerprint": info.fingerprint,
    }
