import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import loopback, mlflow_server, process, seaweedfs, services
from pipeline.runtime.process import ProcessIdentity
from pipeline.runtime.server import last_line, private_environment
from pipeline.runtime.service_state import HTTP, ServerRecord, ServiceFolder

Ports = dict[str, int]


def free_except(*taken: int) -> Callable[[int], bool]:
    return lambda port: port not in taken


@pytest.fixture
def folder(tmp_path: Path) -> ServiceFolder:
    return ServiceFolder.in_state_dir(tmp_path)


@pytest.fixture
def this_process() -> ProcessIdentity:
    return ProcessIdentity.of(os.getpid())


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ((), {"a": 100, "b": 200}),
        ((100,), {"a": 101, "b": 200}),
        ((100, 101, 200), {"a": 102, "b": 201}),
    ],
)
def test_a_taken_port_gives_way_to_the_next_free_one(
    taken: tuple[int, ...], expected: Ports
) -> None:
    chosen = loopback.choose_ports({"a": 100, "b": 200}, is_free=free_except(*taken))

    assert expected == chosen


def test_a_port_is_passed_over_when_its_offset_is_taken() -> None:
    chosen = loopback.choose_ports({"a": 100}, offsets=(0, 1000), is_free=free_except(1100))

    assert chosen == {"a": 101}


def test_chosen_ports_and_their_offsets_never_meet() -> None:
    # b's own port is a's port with offset, and c wants the same as a.
    chosen = loopback.choose_ports(
        {"a": 100, "b": 1100, "c": 100}, offsets=(0, 1000), is_free=free_except()
    )

    assert chosen == {"a": 100, "b": 1101, "c": 102}


def test_choosing_fails_when_every_port_is_taken() -> None:
    with pytest.raises(ServiceUnavailable, match="no free port at or above 60000 for s3"):
        loopback.choose_ports({"s3": 60000}, offsets=(0, 5000), is_free=lambda port: False)


def test_default_ports_stay_clear_of_ray_workers_and_outgoing_connections() -> None:
    s3_ports = seaweedfs.DEFAULT_PORTS.values()
    claimed = [
        *s3_ports,
        *(port + 10_000 for port in s3_ports),
        *mlflow_server.DEFAULT_PORTS.values(),
    ]

    assert all(20_000 <= port < 32_768 for port in claimed)
    assert len(set(claimed)) == len(claimed)


def test_a_process_is_known_by_pid_and_creation(this_process: ProcessIdentity) -> None:
    assert process.is_running(this_process)


@pytest.mark.parametrize("seconds", [-40.0, 3600.0])
def test_a_clock_that_is_set_makes_no_process_a_stranger(
    this_process: ProcessIdentity, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As psutil sees it: the kernel's time of boot moves with the clock."""
    created, booted = psutil.Process().create_time(), psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: booted + seconds)

    assert psutil.Process().create_time() == pytest.approx(created + seconds, abs=2)
    assert process.is_running(this_process)


@pytest.mark.parametrize("other", [{"created_s": 1.0}, {"boot": "an earlier one"}])
def test_a_pid_given_to_another_process_since_is_not_running(
    this_process: ProcessIdentity, other: dict[str, Any]
) -> None:
    assert not process.is_running(replace(this_process, **other))


def test_a_stale_record_is_not_running(this_process: ProcessIdentity) -> None:
    stale = replace(this_process, created_s=0.0)

    assert not ServerRecord(ports={HTTP: 1}, processes=(stale,)).is_running
    assert not ServerRecord(ports={HTTP: 1}).is_running


def test_stopping_leaves_a_process_alone_that_only_has_the_same_pid(
    this_process: ProcessIdentity,
) -> None:
    process.stop([replace(this_process, created_s=0.0)], patience_s=0.0)

    assert process.is_running(this_process)


def test_a_record_is_read_as_it_was_stored(folder: ServiceFolder) -> None:
    record = ServerRecord(
        ports={HTTP: 20333, "filer": 20888},
        processes=(ProcessIdentity(7, 1.25, "b"), ProcessIdentity(8, 2.5, "b")),
        is_ready=True,
        upstream="http://127.0.0.1:1",
    )

    folder.remember("s3", record)
    folder.remember("mlflow", replace(record, is_ready=False))

    assert {"s3": record, "mlflow": replace(record, is_ready=False)} == folder.records()


def test_a_damaged_state_file_is_named(folder: ServiceFolder) -> None:
    folder.remember("s3", ServerRecord(ports={HTTP: 1}))
    (folder.root / "state.json").write_text('{"s3": {"ports": 1}}')

    with pytest.raises(ServiceUnavailable, match=r"state\.json cannot be read"):
        folder.records()


def test_credentials_are_made_once_for_their_owner_only(folder: ServiceFolder) -> None:
    made = folder.credentials()

    assert made == folder.credentials()
    assert made.secret_key not in repr(made)
    assert stat.S_IMODE((folder.root / "credentials.json").stat().st_mode) == 0o600


def test_servers_inherit_nothing_meant_for_other_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theirs")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "theirs")
    monkeypatch.setenv("LANG", "C")

    environment = private_environment(AWS_ACCESS_KEY_ID="ours")

    assert "theirs" not in environment.values()
    assert (environment["LANG"], environment["AWS_ACCESS_KEY_ID"]) == ("C", "ours")


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "127.0.0.1"), ("a.example, 127.0.0.1", "a.example,127.0.0.1"), ("b", "b,127.0.0.1")],
)
def test_no_proxy_is_asked_for_local_services(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", before)

    assert {"no_proxy": after} == loopback.past_proxies()


@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_services_of_the_user_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str
) -> None:
    monkeypatch.setenv(endpoint, "https://s3.example")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    before = dict(os.environ)

    services.ensure_environment(tmp_path, needs_s3=True, needs_mlflow=True)

    assert before == dict(os.environ)
    assert list(tmp_path.iterdir()) == []


def test_looking_and_stopping_make_nothing(tmp_path: Path) -> None:
    services.stop(tmp_path)

    assert {("s3", "never started"), ("mlflow", "never started")} == {
        (status.name, status.detail) for status in services.status(tmp_path)
    }
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ServiceUnavailable, match="file/services is no folder of ours"):
        services.start_s3(tmp_path / "file")


def test_the_last_line_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "s3.log"
    missing = last_line(log)
    log.write_text("first\n" * 5000 + "  the reason \n\n")

    assert (missing, last_line(log)) == ("no log", "the reason")
