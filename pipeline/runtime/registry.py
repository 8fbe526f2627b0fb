"""Where MLflow keeps the weights of a run or of a registered model."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.core.errors import DataError, ServiceUnavailable, UsageError, one_line
from pipeline.learning.weights import DIGEST, WEIGHTS_FILE, check_digest
from pipeline.runtime.tracking import WEIGHTS_TAG, check_mlflow

DIGEST_TAG = f"cgnet.{DIGEST}"  # on a run, beside the folder of the weights
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def run_weights(run_id: str) -> tuple[str, str | None]:
    """Return the folder with a run's weights, and their SHA-256 where it was noted.

    They are a trial's own, or on a study's run its champion's.

    Raises:
        UsageError: there is no such run, or it has no weights.
        ServiceUnavailable: MLflow does not answer.
    """
    check_mlflow()
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as cause:
        raise _explained(cause, f"MLflow has no run {run_id}: look for its id in MLflow") from cause
    if WEIGHTS_TAG not in run.data.tags:
        state = run.data.tags.get("cgnet.state", run.info.status.lower())
        raise UsageError(
            f"run {run_id} ({state}) has no weights: give the run of a complete trial, or of a "
            "study that has one"
        )
    return str(run.data.tags[WEIGHTS_TAG]), run.data.tags.get(DIGEST_TAG)


def model_weights(uri: str) -> tuple[bytes, Mapping[str, str]]:
    """Return the weights of a registered model and the tags of its version.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        UsageError: there is no such model.
        DataError: it is none of ours, or was changed since it was registered.
        ServiceUnavailable: MLflow, or where it keeps the weights, does not answer.
    """
    check_mlflow()
    name, at, alias = uri.removeprefix("models:/").partition("@")
    missing = f"MLflow has no model {uri}: python -m pipeline.search registers a champion"
    try:
        client = MlflowClient()
        if at:
            version = client.get_model_version_by_alias(name, alias)
        else:
            version = client.get_model_version(*name.split("/", 1))
    except (MlflowException, TypeError) as cause:
        raise _explained(cause, missing) from cause
    weights = _download(f"models:/{version.name}/{version.version}/artifacts", uri)
    check_digest(weights, version.tags.get(DIGEST), uri)
    return weights, {"model": str(version.name), "version": str(version.version), **version.tags}


def _download(folder: str, uri: str) -> bytes:
    try:
        # A download that fails does not say whether the file is missing or the store away.
        files = mlflow.artifacts.list_artifacts(folder)
        if not any(Path(file.path).name == WEIGHTS_FILE for file in files):
            raise DataError(f"{uri} holds no {WEIGHTS_FILE}: it is not of this program")
        with tempfile.TemporaryDirectory() as here:
            path = mlflow.artifacts.download_artifacts(f"{folder}/{WEIGHTS_FILE}", dst_path=here)
            return Path(path).read_bytes()
    except (MlflowException, OSError, BotoCoreError, ClientError) as cause:
        raise ServiceUnavailable(
            f"MLflow's artifact store does not hand out {uri} ({one_line(cause)}); check it, "
            "and AWS_ENDPOINT_URL_S3 where it is an S3"
        ) from cause


def _explained(cause: Exception, missing: str) -> UsageError | ServiceUnavailable:
    """Return the error that tells what is not there, or that MLflow refuses."""
    if isinstance(cause, MlflowException) and cause.error_code not in _MISSING:
        return ServiceUnavailable(f"MLflow refuses: {str(cause).splitlines()[0]}")
    return UsageError(missing)
