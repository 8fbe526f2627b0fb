"""Where MLflow keeps the weights of a run or of a registered model."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.core.errors import DataError, ServiceUnavailable, UsageError
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.tracking import WEIGHTS_TAG, check_mlflow

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def run_weights_uri(run_id: str) -> str:
    """Return the URI of the folder with a run's weights: a trial's own, or a study's champion's.

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
    return str(run.data.tags[WEIGHTS_TAG])


def model_weights(uri: str) -> tuple[bytes, Mapping[str, str]]:
    """Return the weights of a registered model and the tags of its version.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        UsageError: there is no such model.
        DataError: it is none of ours.
        ServiceUnavailable: MLflow does not answer.
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
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                f"models:/{version.name}/{version.version}/artifacts/{WEIGHTS_FILE}",
                dst_path=folder,
            )
        except (MlflowException, OSError) as cause:
            raise DataError(f"{uri} holds no {WEIGHTS_FILE}: it is not of this program") from cause
        notes = {"model": str(version.name), "version": str(version.version), **version.tags}
        return Path(path).read_bytes(), notes


def _explained(cause: Exception, missing: str) -> UsageError | ServiceUnavailable:
    """Return the error that tells what is not there, or that MLflow refuses."""
    if isinstance(cause, MlflowException) and cause.error_code not in _MISSING:
        return ServiceUnavailable(f"MLflow refuses: {str(cause).splitlines()[0]}")
    return UsageError(missing)
