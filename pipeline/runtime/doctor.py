"""What is wrong with the S3, MLflow, Ray and study storage that a command here would use.

Each check does once what a search does, leaves nothing behind, and says in one line what it found
or what to mend.
"""

import os
import platform
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.exceptions
import mlflow
import optuna
import ray
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.core.errors import PipelineError, ServiceUnavailable
from pipeline.runtime import ray_probe, storage
from pipeline.runtime.study_database import parse_url, shown, study_database

# S3 refuses a request that is signed 15 minutes off.
MAX_SKEW_S = 300
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
optuna.logging.set_verbosity(optuna.logging.WARNING)

_HINTS = {
    "NoSuchBucket": "correct --store, or make it: preprocess and search do so",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "ExpiredToken": "renew AWS_SESSION_TOKEN",
}


@dataclass(frozen=True)
class Finding:
    """What was found of one part, in one line."""

    part: str
    is_well: bool
    says: str


def examine(
    store: str, study_url: str | None, state_dir: Path, now: Callable[[], float]
) -> list[Finding]:
    """Return what is to be said of every part, wherever the environment says that it is.

    Args:
        store: URI of the store.
        study_url: of the database that has the studies; None for the folder of this machine.
        state_dir: folder of this machine's studies.
        now: the clock, in seconds since 1970.
    """
    os.environ.update(_IMPATIENT)
    return [
        _finding("S3", lambda: check_store(store, now)),
        _finding("MLflow", lambda: check_mlflow(os.environ.get("MLFLOW_TRACKING_URI"))),
        _finding("Ray", lambda: check_ray(os.environ)),
        _finding("studies", lambda: check_studies(study_url, state_dir)),
    ]


def _finding(part: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(part, is_well=True, says=check())
    except PipelineError as error:
        return Finding(part, is_well=False, says=str(error))


def check_store(uri: str, now: Callable[[], float]) -> str:
    """List, write, read and delete in the store; return what is well.

    Raises:
        ServiceUnavailable: one of these cannot be done, or the clocks differ.
        UsageError: the URI is none.
    """
    scheme, bucket, path = storage.split_uri(uri)
    if scheme != "s3":
        _write_into(Path(uri).expanduser())
        return f"{uri} can be written to"
    if storage.endpoint_name() == "AWS":
        return "no AWS_ENDPOINT_URL_S3, and none runs: commands start an S3 of their own here"
    key = f"{path}/doctor-{secrets.token_hex(8)}".lstrip("/")
    with storage.telling_why(bucket):
        skew_s = _use_bucket(bucket, key, now)
    _check_clock(skew_s)
    return (
        f"{uri} at {storage.endpoint_name()}: lists, writes, reads and deletes; "
        f"this clock is {skew_s:+.0f} s off"
    )


def _use_bucket(bucket: str, key: str, now: Callable[[], float]) -> float:
    """List, write, read and delete; return by how much our clock is ahead of that of S3."""
    client = storage.s3_client(attempts=1)
    steps: Mapping[str, Mapping[str, Any]] = {
        "list_objects_v2": {"MaxKeys": 1},
        "put_object": {"Key": key, "Body": b"well"},
        "get_object": {"Key": key},
        "delete_object": {"Key": key},
    }
    skew_s = 0.0
    for step, fields in steps.items():
        try:
            answer = getattr(client, step)(Bucket=bucket, **fields)
        except botocore.exceptions.ClientError as cause:
            raise _refusal(cause, step, bucket, now()) from cause
        if step == "get_object" and answer["Body"].read() != b"well":
            raise ServiceUnavailable(f"S3 at {storage.endpoint_name()} gives back what was not put")
        skew_s = clock_skew_s(answer, now())
    return skew_s


def _refusal(
    cause: botocore.exceptions.ClientError, step: str, bucket: str, now: float
) -> ServiceUnavailable:
    code = str(cause.response["Error"]["Code"])
    if code == "RequestTimeTooSkewed":
        _check_clock(clock_skew_s(cause.response, now))
    hint = _HINTS.get(code, "give this key the rights that infra/terraform/main.tf lists")
    return ServiceUnavailable(
        f"S3 at {storage.endpoint_name()} refuses {step} in bucket {bucket}: {code}; {hint}"
    )


def clock_skew_s(answer: Mapping[str, Any], now: float) -> float:
    """Return by how much our clock is ahead of the one of whoever answered; 0 if it has none."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return now - parsedate_to_datetime(date).timestamp() if date else 0.0


def _check_clock(skew_s: float) -> None:
    if abs(skew_s) > MAX_SKEW_S:
        raise ServiceUnavailable(
            f"the clock of this machine is {skew_s:+.0f} s off that of S3, which refuses at 900: "
            "set it, such as by NTP"
        )


def check_mlflow(uri: str | None) -> str:
    """Read an experiment, make and delete a registered model; return what is well.

    A deleted model is gone, where a deleted experiment keeps its name for ever.

    Raises:
        ServiceUnavailable: it is not there, too old, or refuses.
    """
    if uri is None:
        return "no MLFLOW_TRACKING_URI, and none runs: commands start an MLflow of their own here"
    says = uri
    if uri.startswith(("http://", "https://")):
        server = _mlflow_version(uri.rstrip("/"))
        if problem := version_problem(server, mlflow.__version__):
            raise ServiceUnavailable(f"MLflow at {uri} {problem}")
        says = f"{uri}, version {server}"
    client, name = MlflowClient(uri), f"cgnet-doctor-{secrets.token_hex(8)}"
    try:
        client.search_experiments(max_results=1)
        client.create_registered_model(name)
        client.delete_registered_model(name)
    except MlflowException as cause:
        reason = str(cause).splitlines()[0]
        raise ServiceUnavailable(
            f"MLflow at {uri} refuses ({reason}); check MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or its database"
        ) from cause
    return f"{says}: reads and writes"


def _mlflow_version(uri: str) -> str:
    try:
        answer = requests.get(f"{uri}/version", timeout=5)
        answer.raise_for_status()
    except requests.RequestException as cause:
        reason = type(cause).__name__ if cause.response is None else cause.response.status_code
        raise ServiceUnavailable(
            f"MLflow at {uri} does not say its version ({reason}); check MLFLOW_TRACKING_URI"
        ) from cause
    return answer.text.strip()


def version_problem(server: str, client: str) -> str | None:
    """Return what is wrong with a server's version of MLflow, or None.

    A server takes clients of its major version that are no newer than it is.
    """
    try:
        theirs, ours = ([int(part) for part in text.split(".")[:2]] for text in (server, client))
    except ValueError:
        return f"says {server[:40]!r} for its version: it is no MLflow, check MLFLOW_TRACKING_URI"
    if theirs[0] == ours[0] and theirs >= ours:
        return None
    return f"is {server}, the client here {client}: make the server the newer of the two"


def check_ray(environment: Mapping[str, str]) -> str:
    """Ask the cluster for its versions; return what is well.

    Raises:
        ServiceUnavailable: it does not answer, refuses our token, or has other versions.
    """
    address = environment.get("RAY_ADDRESS")
    if not address:
        return f"no RAY_ADDRESS: each command starts a Ray {ray.__version__} of its own here"
    ray_probe.check_token(environment, Path.home())
    theirs = ray_probe.versions(address)
    ours = ray_probe.Versions(ray.__version__, platform.python_version())
    if theirs != ours:
        raise ServiceUnavailable(
            f"Ray at {address} is {theirs}, here is {ours}: both must be the same on every node, "
            "such as by the image of infra/"
        )
    return f"{address}, {theirs}, as here"


def check_studies(url: str | None, state_dir: Path) -> str:
    """Make and delete a study; return what is well.

    Raises:
        ServiceUnavailable: the storage cannot be written to.
        UsageError: the URL is none.
    """
    if url is None:
        _write_into(state_dir / "studies")
        return f"journals in {state_dir / 'studies'} can be written to"
    name = f"doctor-{secrets.token_hex(8)}"
    with study_database(url, "doctor") as database:
        database.delete_study(
            database.create_new_study([optuna.study.StudyDirection.MINIMIZE], name)
        )
    return f"{shown(parse_url(url))} can be written to"


def _write_into(folder: Path) -> None:
    """Write a file into the first folder upwards that is there."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"well")
    except OSError as cause:
        raise ServiceUnavailable(
            f"{folder} cannot be written to ({cause.strerror}): make it yours, or name another"
        ) from cause
