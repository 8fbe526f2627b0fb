"""A real S3 for the integration tests: one SeaweedFS for the session, on data of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import boto3
import pytest

from pipeline.runtime import seaweedfs, services
from pipeline.runtime.services import S3Address


@dataclass(frozen=True)
class RunningS3:
    """A SeaweedFS that runs until the session ends."""

    state_dir: Path
    address: S3Address
    bucket: str = seaweedfs.BUCKET


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    """The server alone; fixtures of a wider scope than a test set their own environment."""
    state_dir = tmp_path_factory.mktemp("s3")
    try:
        yield RunningS3(state_dir, services.start_s3(state_dir))
    finally:
        services.stop(state_dir)


@contextmanager
def environment_of(server: RunningS3) -> Iterator[None]:
    """Set the environment as a command sets it; take it back afterwards."""
    # boto3.client() keeps the keys of the environment it was first called in.
    with patch.dict(os.environ), patch.object(boto3, "DEFAULT_SESSION", None):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        services.ensure_environment(server.state_dir, needs_s3=True, needs_mlflow=False)
        yield


@pytest.fixture
def s3(s3_server: RunningS3) -> Iterator[RunningS3]:
    """The server, for a test that finds it through its environment."""
    with environment_of(s3_server):
        yield s3_server
