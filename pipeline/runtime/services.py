"""The local S3 and MLflow: start, stop, look, and point the libraries at them.

Both run detached from the command that starts them and keep their data across restarts of the
machine. Whoever has services of their own says so by the variables that boto3 and MLflow read,
and nothing is started.
"""

import logging
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.runtime import loopback, mlflow_server, process, seaweedfs
from pipeline.runtime.server import PortTaken, Server, is_healthy, launch, wait_until_ready
from pipeline.runtime.service_state import Credentials, ServerRecord, ServiceFolder, write_private

log = logging.getLogger(__name__)

# SeaweedFS takes 2.6 s to end, MLflow 1.1 s, on an idle machine.
_STOP_PATIENCE_S = 20.0
_PORT_ATTEMPTS = 3
_HEALTH = {seaweedfs.NAME: seaweedfs.HEALTH, mlflow_server.NAME: mlflow_server.HEALTH}


@dataclass(frozen=True)
class S3Address:
    """Where the local S3 is and the keys that open it."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Services:
    """The local S3 and, where it was started, MLflow (else an empty address)."""

    s3_endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    mlflow_uri: str


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is doing; ``detail`` is a few words for people."""

    name: str
    address: str
    healthy: bool
    pid: int | None
    detail: str


def start(state_dir: Path) -> Services:
    """Start S3 and MLflow, at the same time, unless they run already.

    Raises:
        ServiceUnavailable: one of them does not start; the message names its log.
    """
    return _start(state_dir, with_mlflow=True)


def start_s3(state_dir: Path) -> S3Address:
    """Start S3 unless it runs already.

    Raises:
        ServiceUnavailable: it does not start; the message names its log.
    """
    services = _start(state_dir, with_mlflow=False)
    return S3Address(services.s3_endpoint, services.access_key, services.secret_key)


def ensure_environment(state_dir: Path, *, needs_s3: bool, needs_mlflow: bool) -> None:
    """Set the variables through which libraries find S3 and MLflow, starting what is missing.

    A service whose address is in the environment already is left to whoever put it there.

    Raises:
        ServiceUnavailable: a service does not start; the message names its log.
    """
    starts_s3 = needs_s3 and not _names_s3(os.environ)
    starts_mlflow = needs_mlflow and not os.environ.get("MLFLOW_TRACKING_URI")
    if not (starts_s3 or starts_mlflow):
        return
    services = _start(state_dir, with_mlflow=starts_mlflow)
    _set_environment(services, s3=starts_s3, mlflow=starts_mlflow)


def find(state_dir: Path) -> None:
    """Set the variables as ``ensure_environment`` does, for what runs already; start nothing."""
    folder = ServiceFolder.in_state_dir(state_dir)
    records = folder.records()
    if seaweedfs.NAME in records and records[seaweedfs.NAME].is_running:
        _set_environment(
            _services(folder.credentials(), records),
            s3=not _names_s3(os.environ),
            mlflow=not os.environ.get("MLFLOW_TRACKING_URI"),
        )


def _names_s3(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"))


def _set_environment(services: Services, *, s3: bool, mlflow: bool) -> None:
    os.environ.update(loopback.past_proxies())
    if s3:
        os.environ.update(_s3_variables(services))
        # It belongs to other keys, and would be sent along with these.
        os.environ.pop("AWS_SESSION_TOKEN", None)
    if mlflow:
        os.environ.update(_mlflow_variables(services))


def stop(state_dir: Path) -> None:
    """End whatever of S3 and MLflow runs; their data and keys stay.

    Raises:
        ServiceUnavailable: a process does not end.
    """
    folder = ServiceFolder.in_state_dir(state_dir)
    if not folder.root.exists():
        return
    with folder.locked():
        folder.shell_file.unlink(missing_ok=True)
        records = folder.records()
        started = [identity for record in records.values() for identity in record.processes]
        process.stop(started, patience_s=_STOP_PATIENCE_S)
        for name, record in records.items():
            folder.remember(name, replace(record, processes=(), is_ready=False))


def shell_file(state_dir: Path) -> Path:
    """Return the file that tells a shell of the running services when sourced."""
    return ServiceFolder.in_state_dir(state_dir).shell_file


def status(state_dir: Path) -> list[ServiceStatus]:
    """Return how S3 and MLflow are doing, without changing anything."""
    folder = ServiceFolder.in_state_dir(state_dir)
    records = folder.records()
    return [_status(folder, name, records.get(name)) for name in _HEALTH]


def _start(state_dir: Path, *, with_mlflow: bool) -> Services:
    folder = ServiceFolder.in_state_dir(state_dir)
    attempts_left = _PORT_ATTEMPTS
    with folder.locked():
        while True:
            attempts_left -= 1
            try:
                return _bring_up(folder, with_mlflow=with_mlflow)
            except PortTaken as lost:
                if not attempts_left:
                    raise
                log.info("%s", lost)


def _bring_up(folder: ServiceFolder, *, with_mlflow: bool) -> Services:
    s3 = seaweedfs.server(folder)
    launched = [(s3, _launched(folder, s3))]
    if with_mlflow:
        mlflow = mlflow_server.server(folder, s3_endpoint=launched[0][1].address)
        launched.append((mlflow, _launched(folder, mlflow)))
    for server, record in launched:
        _await(folder, server, record)
    services = _services(folder.credentials(), folder.records())
    _write_shell_file(folder, services)
    return services


def _launched(folder: ServiceFolder, server: Server) -> ServerRecord:
    """Return the record of ``server``, whose processes are started unless they run as they should.

    One that runs without being ready, because the command that started it was ended, is kept.
    """
    record = folder.records().get(server.name)
    if record and record.is_running and record.upstream == server.upstream:
        return record
    if record:
        process.stop(record.processes, patience_s=_STOP_PATIENCE_S)
    record = launch(server, preferred_ports=record.ports if record else {})
    folder.remember(server.name, record)
    return record


def _await(folder: ServiceFolder, server: Server, record: ServerRecord) -> None:
    if not (record.is_ready and is_healthy(record, server.health)):
        folder.remember(server.name, wait_until_ready(server, record))


def _services(credentials: Credentials, records: Mapping[str, ServerRecord]) -> Services:
    mlflow = records.get(mlflow_server.NAME)
    return Services(
        s3_endpoint=records[seaweedfs.NAME].address,
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        mlflow_uri=mlflow.address if mlflow and mlflow.is_ready and mlflow.is_running else "",
    )


def _s3_variables(services: Services) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": services.s3_endpoint,
        "AWS_ACCESS_KEY_ID": services.access_key,
        "AWS_SECRET_ACCESS_KEY": services.secret_key,
        "AWS_DEFAULT_REGION": seaweedfs.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _mlflow_variables(services: Services) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": services.mlflow_uri} if services.mlflow_uri else {}


def _write_shell_file(folder: ServiceFolder, services: Services) -> None:
    variables = {**_s3_variables(services), **_mlflow_variables(services)}
    exports = [f"export {name}={shlex.quote(text)}" for name, text in variables.items()]
    past_proxies = f'export no_proxy="${{no_proxy:-${{NO_PROXY:-}}}},{loopback.HOST}"'
    lines = [*exports, past_proxies, "unset AWS_SESSION_TOKEN"]
    write_private(folder.shell_file, "\n".join(lines) + "\n")


def _status(folder: ServiceFolder, name: str, record: ServerRecord | None) -> ServiceStatus:
    if record is None:
        return ServiceStatus(name, address="", healthy=False, pid=None, detail="never started")
    pid = record.processes[0].pid if record.is_running else None
    healthy = record.is_ready and is_healthy(record, _HEALTH[name])
    if healthy:
        detail = "ready"
    elif pid is not None:
        detail = f"not ready, see {folder.log(name)}"
    elif record.processes:
        detail = f"has ended, see {folder.log(name)}"
    else:
        detail = "stopped"
    return ServiceStatus(name, record.address, healthy, pid, detail)
