"""The local MLflow server: runs in SQLite, artifacts on the local S3."""

import sys
from collections.abc import Mapping

from pipeline.runtime import loopback, seaweedfs
from pipeline.runtime.server import Health, Server, private_environment
from pipeline.runtime.service_state import HTTP, ServiceFolder

NAME = "mlflow"
HEALTH = Health("/health", body="OK")
DEFAULT_PORTS = {HTTP: 20500}


def server(folder: ServiceFolder, *, s3_endpoint: str) -> Server:
    """Return how the MLflow server of ``folder`` is started.

    Args:
        folder: where its database is.
        s3_endpoint: the S3 of the same folder. Clients send artifacts through the server and so
            need no keys.
    """
    credentials = folder.credentials()
    return Server(
        name=NAME,
        command=_command,
        environment=private_environment(
            MLFLOW_S3_ENDPOINT_URL=s3_endpoint,
            AWS_ACCESS_KEY_ID=credentials.access_key,
            AWS_SECRET_ACCESS_KEY=credentials.secret_key,
            AWS_DEFAULT_REGION=seaweedfs.REGION,
            AWS_EC2_METADATA_DISABLED="true",
            # A model file must not be able to run code in the server.
            MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
            # Job runners that nothing here uses: eight processes, 400 MB.
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_DISABLE_TELEMETRY="true",
            DO_NOT_TRACK="true",
        ),
        folder=folder.data(NAME),
        log=folder.log(NAME),
        default_ports=DEFAULT_PORTS,
        health=HEALTH,
        start_limit_s=60.0,
        upstream=s3_endpoint,
    )


def _command(ports: Mapping[str, int]) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        # Relative to the folder it runs in: no character of a path can be misread as a URL's.
        *("--backend-store-uri", "sqlite:///mlflow.db"),
        *("--artifacts-destination", f"s3://{seaweedfs.BUCKET}/mlflow"),
        *("--host", loopback.HOST),
        *("--port", str(ports[HTTP])),
        *("--workers", "1"),
        # A line per logged metric would fill the disk over a long search.
        *("--uvicorn-opts", "--no-access-log"),
    ]
