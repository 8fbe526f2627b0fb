"""Real SeaweedFS and MLflow servers, started, used, killed and stopped.

The tests share one pair of servers and leave it running, so that any order will do.
"""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import loopback, mlflow_server, process, seaweedfs, services
from pipeline.runtime.process import ProcessIdentity
from pipeline.runtime.server import Health, is_healthy
from pipeline.runtime.service_state import HTTP, ServerRecord, ServiceFolder
from pipeline.runtime.services import Services

pytestmark = pytest.mark.integration

Ports = dict[str, int]
DEFAULT_PORTS = (seaweedfs.DEFAULT_PORTS[HTTP], mlflow_server.DEFAULT_PORTS[HTTP])


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose services were started with default ports taken, amid foreign settings."""
    # A blank and signs that mean something in a URL: paths of users have them.
    folder = tmp_path_factory.mktemp("state") / "a b%20?#"
    foreign = {
        "AWS_ENDPOINT_URL_S3": loopback.url(9),
        "AWS_SESSION_TOKEN": "theirs",
        "MLFLOW_TRACKING_URI": loopback.url(9),
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////nowhere/theirs.db",
    }
    with ExitStack() as cleanup:
        cleanup.callback(services.stop, folder)
        for port in DEFAULT_PORTS:
            cleanup.enter_context(listener(port))
        environment = cleanup.enter_context(pytest.MonkeyPatch.context())
        for name, text in foreign.items():
            environment.setenv(name, text)
        services.start(folder)
        environment.undo()
        yield folder


@pytest.fixture
def running(state_dir: Path) -> Services:
    return services.start(state_dir)


@pytest.fixture
def without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_")):
            monkeypatch.delenv(name)
    # It keeps the keys that it was first used with.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    # So that what the test sets is taken back at its end.
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "no_proxy"):
        monkeypatch.setenv(name, "")
    for name in ("AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")


def listener(port: int) -> socket.socket:
    """Take ``port``, unless somebody else keeps it."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # threads of a killed process hold it a moment longer
        with suppress(OSError):
            taken.bind((loopback.HOST, port))
            taken.listen()
            break
        time.sleep(0.01)
    return taken


def client_of(s3: Services) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=s3.s3_endpoint,
        region_name=seaweedfs.REGION,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )


def records(state_dir: Path) -> dict[str, ServerRecord]:
    return ServiceFolder.in_state_dir(state_dir).records()


def processes(state_dir: Path) -> list[ProcessIdentity]:
    return [
        member
        for record in records(state_dir).values()
        for identity in record.processes
        for member in process.with_descendants(identity)
    ]


def request(port: int, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection(loopback.HOST, port, timeout=10)
    connection.request(method, path, body)
    code = connection.getresponse().status
    connection.close()
    return code


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.services", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_an_object_is_stored_and_both_services_answer(running: Services, state_dir: Path) -> None:
    s3 = client_of(running)

    s3.put_object(Bucket=seaweedfs.BUCKET, Key="some/object", Body=b"content")

    stored = s3.get_object(Bucket=seaweedfs.BUCKET, Key="some/object")["Body"].read()
    assert stored == b"content"
    assert [status.healthy for status in services.status(state_dir)] == [True, True]


def test_artifacts_sent_to_mlflow_land_on_the_local_s3(running: Services, state_dir: Path) -> None:
    port = records(state_dir)["mlflow"].ports[HTTP]

    code = request(port, "PUT", "/api/2.0/mlflow-artifacts/artifacts/1/front.json", b"[]")

    stored = client_of(running).get_object(Bucket=seaweedfs.BUCKET, Key="mlflow/1/front.json")
    assert (code, stored["Body"].read()) == (200, b"[]")


def test_taken_default_ports_are_moved_around(running: Services, state_dir: Path) -> None:
    used = {record.ports[HTTP] for record in records(state_dir).values()}

    assert used.isdisjoint(DEFAULT_PORTS)


def test_every_listening_socket_is_on_the_loopback_address(
    running: Services, state_dir: Path
) -> None:
    addresses = {
        connection.laddr
        for member in processes(state_dir)
        for connection in psutil.Process(member.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {ip for ip, _ in addresses} == {loopback.HOST}
    # Five HTTP and five gRPC ports of SeaweedFS, one of MLflow.
    assert len(addresses) == 11


def test_requests_without_keys_are_refused(running: Services, state_dir: Path) -> None:
    client_of(running).put_object(Bucket=seaweedfs.BUCKET, Key="secret", Body=b"content")
    ports = records(state_dir)["s3"].ports

    codes = {
        "list": request(ports[HTTP], "GET", f"/{seaweedfs.BUCKET}"),
        "read": request(ports[HTTP], "GET", f"/{seaweedfs.BUCKET}/secret"),
        "filer read": request(ports["filer"], "GET", f"/buckets/{seaweedfs.BUCKET}/secret"),
        "filer list": request(ports["filer"], "GET", "/buckets/"),
        "filer write": request(ports["filer"], "POST", f"/buckets/{seaweedfs.BUCKET}/x", b"x"),
    }

    assert codes == {
        "list": 403,
        "read": 403,
        "filer read": 401,
        "filer list": 401,
        "filer write": 401,
    }


def test_starting_what_runs_is_quick_and_starts_nothing(running: Services, state_dir: Path) -> None:
    before = records(state_dir)
    durations_s = []

    for _ in range(5):
        began = time.perf_counter()
        again = services.start(state_dir)
        durations_s.append(time.perf_counter() - began)

    assert again == running
    assert records(state_dir) == before
    assert min(durations_s) < 0.1


def test_secrets_stay_in_private_files(running: Services, state_dir: Path) -> None:
    folder = ServiceFolder.in_state_dir(state_dir)
    command_lines = [" ".join(psutil.Process(p.pid).cmdline()) for p in processes(state_dir)]
    logs = [log.read_text() for log in (folder.root / "logs").iterdir()]
    private = [folder.root / "credentials.json", folder.shell_file, folder.data("s3") / "s3.json"]

    assert not any(running.secret_key in text for text in [*command_lines, *logs, repr(running)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700


@pytest.mark.usefixtures("without_addresses")
def test_libraries_find_the_services_through_the_environment(
    running: Services, state_dir: Path
) -> None:
    services.ensure_environment(state_dir, needs_s3=True, needs_mlflow=True)

    names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert names == [seaweedfs.BUCKET]
    assert os.environ["MLFLOW_TRACKING_URI"] == running.mlflow_uri


@pytest.mark.usefixtures("without_addresses")
def test_mlflow_is_local_while_s3_is_the_users_own(
    running: Services, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")

    services.ensure_environment(state_dir, needs_s3=True, needs_mlflow=True)

    assert os.environ["MLFLOW_TRACKING_URI"] == running.mlflow_uri
    assert os.environ["AWS_ACCESS_KEY_ID"] == "theirs"
    assert os.environ["AWS_ENDPOINT_URL_S3"] == ""


def test_a_shell_finds_the_services_through_the_file(running: Services, state_dir: Path) -> None:
    script = '. "$0" && echo "$AWS_ENDPOINT_URL_S3 $AWS_SECRET_ACCESS_KEY $MLFLOW_TRACKING_URI"'
    shell = ["sh", "-eu", "-c", script, str(services.shell_file(state_dir))]

    printed = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split()

    assert printed == [running.s3_endpoint, running.secret_key, running.mlflow_uri]


def test_killed_services_come_back_with_data_and_keys_on_another_port(
    running: Services, state_dir: Path
) -> None:
    client_of(running).put_object(Bucket=seaweedfs.BUCKET, Key="kept", Body=b"content")
    before = processes(state_dir)
    # Only the leaders: MLflow's second process is left behind, holding port and database.
    for record in records(state_dir).values():
        os.kill(record.processes[0].pid, signal.SIGKILL)
    wait_until_ended([record.processes[0] for record in records(state_dir).values()])

    with listener(records(state_dir)["s3"].ports[HTTP]):
        after = services.start(state_dir)

    assert client_of(after).get_object(Bucket=seaweedfs.BUCKET, Key="kept")["Body"].read() == (
        b"content"
    )
    assert (after.access_key, after.secret_key) == (running.access_key, running.secret_key)
    assert after.s3_endpoint != running.s3_endpoint
    assert not any(map(process.is_running, before))
    assert records(state_dir)["mlflow"].upstream == after.s3_endpoint


def test_down_leaves_no_process_and_up_starts_again(running: Services, state_dir: Path) -> None:
    before = processes(state_dir)

    down = command("down", "--state-dir", state_dir)

    try:
        assert (down.returncode, down.stderr) == (0, "")
        assert [line.split()[-1] for line in down.stdout.splitlines()] == ["stopped", "stopped"]
        assert not any(map(process.is_running, before))
        assert not services.shell_file(state_dir).exists()
    finally:
        up = command("up", "--state-dir", state_dir)
    assert up.returncode == 0, up.stderr
    assert [line.split()[-1] for line in up.stdout.splitlines()[:2]] == ["ready", "ready"]
    assert str(services.shell_file(state_dir)) in up.stdout
    assert services.start(state_dir) == running


def test_two_commands_at_once_start_one_server(tmp_path: Path) -> None:
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(services.start_s3, [tmp_path, tmp_path])

        assert first == second
        assert sorted(records(tmp_path)) == ["s3"]
    finally:
        services.stop(tmp_path)


def test_a_port_lost_between_choice_and_use_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []

    with ExitStack() as cleanup:
        cleanup.callback(services.stop, tmp_path)

        def choose_and_lose(preferred: Mapping[str, int], *, offsets: Sequence[int]) -> Ports:
            ports = choose_ports(preferred, offsets=offsets)
            if not lost:
                lost.append(ports[HTTP])
                cleanup.enter_context(listener(ports[HTTP]))
            return ports

        choose_ports = loopback.choose_ports
        monkeypatch.setattr(loopback, "choose_ports", choose_and_lose)

        address = services.start_s3(tmp_path)

        assert address.endpoint not in map(loopback.url, lost)
        assert services.status(tmp_path)[0].healthy


def test_a_failing_start_names_the_log_and_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "weed"
    broken.write_text("#!/bin/sh\necho the reason\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(seaweedfs, "find_weed", lambda: broken)

    with pytest.raises(ServiceUnavailable, match=r"s3 ended .*s3\.log \(the reason\)"):
        services.start_s3(tmp_path)


def test_an_answer_from_a_stranger_is_not_health() -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with (
        HTTPServer((loopback.HOST, 0), Stranger) as stranger,
        subprocess.Popen(["sleep", "60"]) as ours,
    ):
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        sleeper = ProcessIdentity.of(ours.pid)
        this = ProcessIdentity.of(os.getpid())
        ports = {HTTP: stranger.server_port}
        health = Health("/health", body="OK")
        as_ours = is_healthy(ServerRecord(ports=ports, processes=(sleeper,)), health)
        as_the_listeners = is_healthy(ServerRecord(ports=ports, processes=(this,)), health)
        ours.kill()
        stranger.shutdown()

    assert (as_ours, as_the_listeners) == (False, True)


def test_help_and_usage_errors_load_no_service() -> None:
    heavy = ("boto3", "mlflow", "psutil", "torch", "ray")
    program = (
        "import sys, json, pipeline.services as command\n"
        "try: command.main()\n"
        f"except SystemExit as end: print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    wrong = command("sideways")

    assert "python -m pipeline.services" in shown.stdout
    assert json.loads(shown.stdout.splitlines()[-1]) == []
    assert wrong.returncode == 2


def wait_until_ended(started: list[ProcessIdentity]) -> None:
    deadline = time.monotonic() + 10
    while any(map(process.is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.02)
