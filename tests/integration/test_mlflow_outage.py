"""MLflow that goes away in the middle of a study: nothing waits for it, and nothing is lost."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.core.config import EpochResult
from pipeline.runtime.study import Study
from pipeline.runtime.tracking import StudyTracker
from tests.integration.test_tracking import INFO, runs, study, weights_uri

__all__ = ["study"]  # a fixture

SECRETS = {"AWS_SECRET_ACCESS_KEY": "a-secret-key", "AWS_ACCESS_KEY_ID": "an-access-key"}


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """A real MLflow server on the same data each time; killed hard at the end."""
    words = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port, process)
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "MLflow has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("MLflow does not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_happens_while_mlflow_is_away_reaches_it_later_in_order(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    client = MlflowClient(f"http://127.0.0.1:{port}")

    def track() -> StudyTracker:
        return StudyTracker(study, INFO, study.settings, weights_uri, tmp_path / "study", 0.1)

    with server(tmp_path, port):
        tracker = track()
    began = time.monotonic()
    new = study.propose()
    assert new
    tracker.started(new)
    for epoch in (1, 2):
        result = EpochResult(epoch, 2, 1.0, 0.6, (0.6, 0.6), 1.0, 1.0)
        study.add_result(new.number, result, reached_ms=1_700_000_001_000 + epoch)
        tracker.reached(study.trial(new.number))
    study.complete(study.trial(new.number))
    tracker.ended(study.trial(new.number))
    told_s = time.monotonic() - began
    lost = tracker.close(finished=False)

    assert told_s < 0.5, "whoever trains does not wait"
    assert lost > 0
    with pytest.raises(MlflowException):
        client.search_experiments()
    with server(tmp_path, port):
        assert track().close(finished=True) == 0
        parent, children = runs(client)
        history = client.get_metric_history(children[-1].info.run_id, "val/mean_iou")

    assert parent.info.status == "FINISHED"
    assert len(children) == 4
    assert [(point.step, point.value) for point in history] == [(1, 0.6), (2, 0.6)]
    assert children[-1].data.tags["cgnet.state"] == "complete"
    told = str([run.to_dictionary() for run in (parent, *children)])
    assert not any(secret in told for secret in SECRETS.values())


def test_an_mlflow_that_does_not_know_the_study_is_told_nothing(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    other = tmp_path / "other"
    other.mkdir()

    with server(tmp_path, port):
        tracker = StudyTracker(study, INFO, study.settings, weights_uri, tmp_path / "study", 0.1)
    with server(other, port):
        tracker.tag({"said": "once"})
        deadline = time.monotonic() + 20
        while "RESOURCE_DOES_NOT_EXIST" not in caplog.text:
            assert time.monotonic() < deadline, "it is not asked"
            time.sleep(0.1)
    with server(tmp_path, port):
        assert tracker.close(finished=True) == 0
        parent, children = runs(MlflowClient(f"http://127.0.0.1:{port}"))

    assert (parent.info.status, parent.data.tags["said"]) == ("FINISHED", "once")
    assert len(children) == 3
