"""The compose file: what Compose itself makes of it, and its S3 as it would be started."""

import json
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S

from pipeline.core.units import parse_duration
from pipeline.runtime import loopback
from tests.infra.programs import INFRA, run

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the compose file with secrets made for it."""
    folder = tmp_path_factory.mktemp("infra")
    for name in ("compose.yaml", "make-secrets"):
        shutil.copy(INFRA / name, folder)
    subprocess.run([folder / "make-secrets"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> dict[str, Any]:
    done = run("docker-compose", "-f", folder / "compose.yaml", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def services(config: dict[str, Any]) -> Services:
    return dict(config["services"])


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("    healthcheck:", "    healthchek:"),
        ("[aws_credentials, pg_service, ray_token]", "[aws_credentials, pg_service, ray_tokens]"),
        ("postgres: {condition: service_healthy}", "postgre: {condition: service_healthy}"),
        ("127.0.0.1:8333:8333", "127.0.0.1:8333:83330"),
    ],
)
def test_compose_refuses_a_slip(folder: Path, text: str, broken: str) -> None:
    good = (folder / "compose.yaml").read_text()
    assert text in good
    (folder / "broken.yaml").write_text(good.replace(text, broken))

    done = run("docker-compose", "-f", folder / "broken.yaml", "config", "--quiet")

    assert done.returncode != 0


def test_only_s3_mlflow_and_the_dashboard_are_published_and_on_loopback(services: Services) -> None:
    published = {
        (name, port["host_ip"], port["published"])
        for name, service in services.items()
        for port in service.get("ports", [])
    }

    assert published == {
        ("s3", "127.0.0.1", "8333"),
        ("mlflow", "127.0.0.1", "5000"),
        ("ray-head", "127.0.0.1", "8265"),
    }


def test_every_service_is_watched_and_its_image_has_a_version(services: Services) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]

        assert tag[0].isdigit(), name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_secrets_come_as_files(services: Services, folder: Path) -> None:
    environments = json.dumps(
        [service["environment"] for service in services.values() if "environment" in service]
    )
    made = [file.read_text() for file in (folder / "secrets").iterdir()]

    assert not any(word in environments for word in ("SECRET_ACCESS_KEY", 'PASSWORD"'))
    assert not any(secret in environments for secret in made)
    assert services["ray-head"]["environment"]["RAY_AUTH_MODE"] == "token"


def test_ray_has_time_to_drain_and_shared_memory_for_its_objects(services: Services) -> None:
    for name in ("ray-head", "ray-worker"):
        words = services[name]["command"]
        store = next(int(word.partition("=")[2]) for word in words if "object-store" in word)

        assert parse_duration(services[name]["stop_grace_period"]) > (
            RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
        )
        assert int(services[name]["shm_size"]) > store


def test_secrets_are_made_once_in_a_folder_that_is_closed(
    folder: Path, config: dict[str, Any]
) -> None:
    secrets = folder / "secrets"
    before = {file.name: file.read_text() for file in secrets.iterdir()}

    subprocess.run([folder / "make-secrets"], check=True, capture_output=True)

    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {Path(secret["file"]).name for secret in config["secrets"].values()} == set(before)
    keys = json.loads(before["s3.json"])["identities"][0]["credentials"][0]
    assert keys["accessKey"] in before["aws_credentials"]
    assert keys["secretKey"] in before["aws_credentials"]
    assert before["pg_service.conf"].count(before["postgres_password"]) == 2
    assert len({keys["accessKey"], keys["secretKey"], before["ray_token"]}) == 3


@pytest.fixture
def seaweedfs(
    services: Services, folder: Path, tmp_path: Path
) -> Iterator[tuple[psutil.Process, int]]:
    """SeaweedFS by the command of the compose file on ports that are free here, and S3's port."""
    ports = loopback.choose_ports(
        {"s3": 22333, "filer": 22888, "master": 22933, "volume": 22080}, offsets=(0, 10_000)
    )
    words = [
        word.replace("-dir=/data", f"-dir={tmp_path}")
        .replace("-s3.port=8333", f"-s3.port={ports['s3']}")
        .replace("/run/secrets/s3_identities", str(folder / "secrets/s3.json"))
        for word in services["s3"]["command"]
    ]
    words += [f"-{name}.port={ports[name]}" for name in ("filer", "master", "volume")]
    program = Path(sys.executable).with_name(words[0])
    server = subprocess.Popen(
        [program, *words[1:], f"-filer.localSocket={tmp_path}/s"], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while loopback.fetch(ports["s3"], "/healthz") is None and time.monotonic() < deadline:
            time.sleep(0.1)
        yield psutil.Process(server.pid), ports["s3"]
    finally:
        server.kill()  # told to end, it takes 25 s
        server.wait(10)


def test_of_seaweedfs_only_s3_listens_to_others_and_asks_for_keys(
    seaweedfs: tuple[psutil.Process, int],
) -> None:
    process, s3 = seaweedfs
    listening = [c.laddr for c in process.net_connections("tcp") if c.status == "LISTEN"]

    assert len(listening) >= 8
    assert {place.port for place in listening if place.ip != loopback.HOST} == {s3, s3 + 10_000}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{loopback.url(s3)}/", timeout=5)
