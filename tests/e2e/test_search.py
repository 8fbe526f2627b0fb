"""The main job as a user types it: search, look at MLflow, kill it, go on."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.learning.folder import read_bytes
from pipeline.learning.segmenter import Segmenter
from pipeline.runtime import services
from pipeline.runtime.records import STARTED
from pipeline.runtime.storage import open_folder
from pipeline.sources.streets.source import Streets
from tests.disk import Mount, fill
from tests.e2e.conftest import Shell

BUDGET = "25k"


def words(dataset: str, name: str, trials: int, epochs: int = 2) -> tuple[str, ...]:
    return (
        *("--budget", BUDGET, "--space", "smoke", "--dataset", dataset, "--batch-size", "32"),
        *("--name", name, "--trials", str(trials), "--epochs", str(epochs)),
    )


def whole(dataset: str) -> tuple[str, ...]:
    return (*words(dataset, "whole", trials=4), "--confirm", "1", "--peers", "enet")


@pytest.fixture(scope="module")
def finished(shell: Shell, dataset: str) -> str:
    """The output of a search of four trials that ran to its end and was confirmed."""
    return shell.check("search", *whole(dataset))


@pytest.fixture
def client(shell: Shell, finished: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """MLflow as a person sees it: with its address and the keys of S3."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    services.ensure_environment(shell.state_dir, needs_s3=True, needs_mlflow=True)
    for name, value in os.environ.items():
        if before.get(name) != value:
            monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    return MlflowClient()


def study_run(client: MlflowClient, dataset: str, name: str) -> Run:
    experiment = client.get_experiment_by_name(dataset)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`cgnet.study` = '{name}'")
    return run


def trial_runs(client: MlflowClient, dataset: str, name: str) -> list[Run]:
    parent = study_run(client, dataset, name)
    return list(
        client.search_runs(
            [parent.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
            order_by=["metrics.num_params ASC"],
        )
    )


def wait_for_line(path: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    """Wait until the driver has said so; its output goes to a file as it must not block."""
    deadline = time.monotonic() + 180
    while not re.search(pattern, path.read_text()):
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)


def test_a_search_prints_its_front_and_where_to_look(shell: Shell, finished: str) -> None:
    assert "study whole: 4 complete" in finished
    assert re.search(r"front of \d, hypervolume 0\.\d{3}", finished)
    assert re.search(r"champion: models:/cgnet-streets-32x48[@/]\S+", finished)
    picture = re.search(r"picture: +(\S+)", finished)
    assert picture
    assert Path(picture[1]).read_bytes().startswith(b"\x89PNG")
    front = json.loads((Path(picture[1]).parents[1] / "front.json").read_text())
    sizes = [point["num_params"] for point in front["front"]]
    scores = [point["mean_iou"] for point in front["front"]]
    assert sizes == sorted(sizes)
    assert scores == sorted(scores)
    assert max(sizes) <= 25_000


def test_the_front_is_trained_again_beside_the_published_network_and_a_peer(
    finished: str,
) -> None:
    assert "trained again from scratch with seed 1, mIoU on val:" in finished
    assert re.search(r"claimed 0\.\d{3}, confirmed 0\.\d{3}", finished)
    assert re.search(r"^ *[\d,]+ +- +[\d.]+  ENet \(peer, over budget\)$", finished, re.MULTILINE)
    published = r"^ *[\d,]+ +- +[\d.]+  M3 N21 .*\(as published, over budget\)$"
    assert re.search(published, finished, re.MULTILINE)


def test_mlflow_has_a_run_for_the_study_and_one_for_each_trial(
    client: MlflowClient, dataset: str
) -> None:
    parent, children = (f(client, dataset, "whole") for f in (study_run, trial_runs))

    assert parent.info.status == "FINISHED"
    assert parent.data.params["budget"] == "25000"
    assert parent.data.metrics["front/hypervolume"] > 0
    note = parent.data.tags["mlflow.note.content"]
    assert "trained again with 1 seed after" in note
    assert re.search(r"CGNet as published, M3N21, has [\d,]+ parameters and scores [\d.]+ %", note)
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    expected = {"figures", "front.json", "front.parquet", "front_table.json", "confirmation.json"}
    assert expected <= names
    drawn = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert drawn == {"figures/figures.html", "figures/front.png"}
    secrets = [v for k, v in os.environ.items() if k.startswith("AWS_") and "KEY" in k]
    told = str([run.to_dictionary() for run in (parent, *children)])
    assert len(secrets) == 2
    assert not any(secret in told for secret in secrets)
    assert [run.info.status for run in children] == ["FINISHED"] * 4
    for run in children:
        history = client.get_metric_history(run.info.run_id, "val/mean_iou")
        assert [point.step for point in history] == [1, 2]
        assert run.data.metrics["num_params"] <= 25_000
        assert "val/iou/Road" in run.data.metrics
        assert run.info.run_name.endswith("k")


def test_a_finished_search_is_reported_with_all_its_parts(shell: Shell, finished: str) -> None:
    command = f"python -m pipeline.report whole --state-dir {shell.state_dir}"
    assert finished.splitlines()[-1] == f"next:     {command}"
    assert len(finished.splitlines()) <= 25
    done = shell.run("report", "whole")
    page = re.search(r"page: +(\S+)", done.stdout)
    assert page, done.stderr
    text = Path(page[1]).read_text()

    assert "left out: M3N21" in done.stderr, "the smoke space does not hold it"
    assert done.stderr.count("left out") == 1
    assert text.count("<img") == 16
    assert "python -m pipeline.search" in text
    assert "the study in MLflow" in text


def test_the_champion_loads_back_to_the_same_predictions(
    shell: Shell, client: MlflowClient, finished: str, dataset: str
) -> None:
    run = study_run(client, dataset, "whole")
    (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    weights = read_bytes(open_folder(run.data.tags["cgnet.weights"]), "weights.safetensors")
    source = Streets()
    images = np.stack([source.read("val", key).image_HWC for key in source.keys()["val"][:3]])
    served = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")

    assert version.tags["architecture"] in finished
    assert version.tags["confirming_seeds"] == "1"
    assert "/studies/whole/again/" in run.data.tags["cgnet.weights"]
    np.testing.assert_array_equal(
        served.predict(images), Segmenter.from_bytes(weights).label(images)
    )


def test_the_same_command_again_trains_nothing_more(
    shell: Shell, finished: str, dataset: str
) -> None:
    assert shell.check("search", *whole(dataset)) == finished


def test_other_settings_under_the_name_of_a_study_are_refused(
    shell: Shell, finished: str, dataset: str
) -> None:
    done = shell.run("search", *words(dataset, "whole", trials=4, epochs=3))

    assert done.returncode == 2
    assert "epochs 2, now 3" in done.stderr


def test_a_stopped_trial_ends_at_its_rung_with_the_reason(
    shell: Shell, client: MlflowClient, dataset: str
) -> None:
    out = shell.check(
        "search", *words(dataset, "stopping", trials=7, epochs=3), "--stopping", "asha"
    )
    states = re.search(r"study stopping: (\d) complete, (\d) stopped", out)

    assert states
    assert int(states[1]) + int(states[2]) == 7
    for run in trial_runs(client, dataset, "stopping"):
        history = client.get_metric_history(run.info.run_id, "val/mean_iou")
        stopped = run.data.tags["cgnet.state"] == "stopped"
        assert [point.step for point in history] == ([1] if stopped else [1, 2, 3])
        assert run.data.tags.get("cgnet.stopping", "").startswith("place") is stopped


@contextmanager
def started(shell: Shell, log: Path, *command: str) -> "Iterator[subprocess.Popen[str]]":
    """A search that writes what it says into a file, since a full pipe would hold it up."""
    # Children of a shell's background job ignore Ctrl-C, unless their parent has a handler for it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w") as err:
        process = subprocess.Popen(
            shell.words("search", *command),
            env=shell.environment,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_ended_goes_on_where_it_was(
    shell: Shell, client: MlflowClient, dataset: str, tmp_path: Path, sign: signal.Signals
) -> None:
    """Finished trials stay, running ones go on, the asked number is reached, none is twice."""
    name = f"ended-by-{sign.name.lower()}"
    command = words(dataset, name, trials=5, epochs=4)
    log = tmp_path / "err"
    with started(shell, log, *command) as process:
        wait_for_line(log, r"\[2/5\]", process)
        process.send_signal(sign)
        code = process.wait(60)
    finished_before = set(re.findall(r"trial (\d+) complete: (.*)", log.read_text()))

    assert code == (130 if sign is signal.SIGINT else -sign)
    assert "Traceback" not in log.read_text()
    resumed = shell.run("search", *command)
    assert resumed.returncode == 0, resumed.stderr
    assert f"study {name}: 5 complete" in resumed.stdout
    finished_after = set(re.findall(r"trial (\d+) complete: (.*)", resumed.stderr))
    assert not {n for n, _ in finished_before} & {n for n, _ in finished_after}
    assert len(finished_before) + len(finished_after) == 5
    runs = trial_runs(client, dataset, name)
    assert len({run.data.tags["cgnet.id"] for run in runs}) == len(runs) == 5
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "val/mean_iou")
        assert [point.step for point in history] == [1, 2, 3, 4]


def test_ctrl_c_while_the_front_is_confirmed_ends_it_and_costs_no_trial(
    shell: Shell, dataset: str, tmp_path: Path
) -> None:
    command, log = words(dataset, "late", trials=1), tmp_path / "err"
    with started(shell, log, *command, "--confirm", "1") as process:
        wait_for_line(log, r"trainings, 1 a network, to confirm the front", process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert log.read_text().splitlines()[-1].startswith("interrupted: the same command")

    assert "study late: 1 complete" in shell.check("search", *command, "--confirm", "0")


def test_a_study_on_a_full_disk_is_told_in_a_line_and_goes_on_when_there_is_room(
    shell: Shell, dataset: str, tmp_path: Path, mount: Mount
) -> None:
    """With both trials under way each later write is in a callback of Tune's."""
    command, log = words(dataset, "full", trials=2, epochs=4), tmp_path / "err"
    disk, studies = mount(size="8M"), shell.state_dir / "studies"
    (disk / "full").mkdir()
    studies.mkdir(exist_ok=True)
    for name in ("full", "full.journal"):
        (studies / name).symlink_to(disk / name)
    with started(shell, log, *command) as process:
        wait_for_line(log, r"trials at once", process)
        wait_for_line(studies / "full.journal", rf"(?s){STARTED}.*{STARTED}", process)
        ballast = fill(disk)
        assert process.wait(120) == 1
    said = log.read_text()
    ballast.unlink()

    assert "Traceback" not in said
    assert re.fullmatch(
        r"error: the disk is full: .*; make room, the same command goes on", said.splitlines()[-1]
    )
    assert "study full: 2 complete" in shell.check("search", *command)
