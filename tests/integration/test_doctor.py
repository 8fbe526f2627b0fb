"""The doctor before a real S3, a real Ray and a database, well and otherwise."""

import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import ray

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import doctor, loopback, ray_probe
from pipeline.runtime.ray_probe import Versions
from tests.integration.conftest import RunningS3

STORE = "s3://cgnet/some/place"


def test_a_store_that_is_well_is_left_as_it_was(s3: RunningS3) -> None:
    says = doctor.check_store(STORE, time.time)

    listed = boto3.session.Session().client("s3").list_objects_v2(Bucket=s3.bucket, Prefix="some/")
    assert s3.address.endpoint in says
    assert "lists, writes, reads and deletes" in says
    assert listed["KeyCount"] == 0


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "theirs", "InvalidAccessKeyId; check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "x", "SignatureDoesNotMatch; check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9", "does not answer"),
    ],
)
def test_what_is_wrong_with_a_store_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ServiceUnavailable, match=said):
        doctor.check_store(STORE, time.time)


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ServiceUnavailable, match="refuses list_objects_v2 in bucket nowhere: NoSuch"
    ):
        doctor.check_store("s3://nowhere/x", time.time)


@pytest.mark.usefixtures("s3")
def test_a_clock_that_is_off_is_told_by_how_much() -> None:
    with pytest.raises(ServiceUnavailable, match=r"clock of this machine is \+(600|601) s off"):
        doctor.check_store(STORE, lambda: time.time() + 600.5)


def test_a_store_of_mlflow_and_a_database_that_are_well(tmp_path: Path) -> None:
    mlflow_says = doctor.check_mlflow(f"sqlite:///{tmp_path}/mlflow.db")
    studies_say = doctor.check_studies(f"sqlite:///{tmp_path}/studies.db", tmp_path)

    assert "reads and writes" in mlflow_says
    assert "can be written to" in studies_say


@dataclass(frozen=True)
class Head:
    """A head of Ray that asks for a token."""

    address: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets are in it, and pytest's own is long."""
    with tempfile.TemporaryDirectory(prefix="cgnet-ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[Head]:
    (folder / "token").write_text("5" * 40)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    port = loopback.choose_ports({"ray": 26379})["ray"]
    words = (
        f"start --head --block --node-ip-address=127.0.0.1 --port={port} --num-cpus=0 "
        f"--include-dashboard=false --object-store-memory=100000000 --temp-dir={folder}"
    )
    server = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), *words.split()],
        env=os.environ | own | {"RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while loopback.is_free(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield Head(f"127.0.0.1:{port}", own)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_a_cluster_is_asked_for_its_versions(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in head.environment.items():
        monkeypatch.setenv(name, text)

    assert ray_probe.versions(head.address) == Versions(ray.__version__, platform.python_version())
    assert "as here" in doctor.check_ray(os.environ | {"RAY_ADDRESS": head.address})
    monkeypatch.setattr(platform, "python_version", lambda: "3.11.999")
    with pytest.raises(ServiceUnavailable, match=r"here is Ray .* on Python 3\.11\.999: both must"):
        doctor.check_ray(os.environ | {"RAY_ADDRESS": head.address})


def test_a_cluster_with_another_token_is_told(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")

    with pytest.raises(ServiceUnavailable, match="refuses our token: set RAY_AUTH_MODE=token"):
        ray_probe.versions(head.address)


def test_a_listener_that_is_no_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_probe, "_ANSWER_LIMIT_S", 3.0)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(ServiceUnavailable, match="does not answer as Ray does"),
    ):
        ray_probe.versions(f"127.0.0.1:{listener.getsockname()[1]}")


def test_the_command_says_a_line_of_each_part_and_exits_by_them(s3: RunningS3) -> None:
    state = ("--state-dir", str(s3.state_dir))
    words = [sys.executable, "-m", "pipeline.services", "doctor", *state]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MLFLOW_"))}
    environment.pop("RAY_ADDRESS", None)

    well, ill = (
        subprocess.run(
            words, env=environment | own, capture_output=True, text=True, check=False, timeout=60
        )
        for own in ({}, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    )

    assert (well.returncode, ill.returncode) == (0, 1), well.stdout + well.stderr
    assert [line.split()[0] for line in well.stdout.splitlines()] == ["ok"] * 4
    assert [line.split()[0] for line in ill.stdout.splitlines()] == ["ok", "wrong", "ok", "ok"]
    assert s3.address.endpoint in well.stdout, "it tried out the S3 that runs"
