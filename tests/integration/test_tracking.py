"""What MLflow holds of a study, on a real SQLite store: complete, and the same when sent twice."""

import math
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.core.config import EpochResult
from pipeline.core.errors import DataError, ServiceUnavailable
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.core.space import load_space
from pipeline.runtime.records import TrialRecord
from pipeline.runtime.session import closed_if_it_fails
from pipeline.runtime.study import Study
from pipeline.runtime.tracking import WEIGHTS_TAG, StudyTracker, check_mlflow
from tests.disk import Mount, fill

INFO = DatasetInfo(
    name="squares",
    fingerprint="f",
    generation="g",
    classes=ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), 255),
    num_samples={"train": 8, "val": 4},
    image_size=(32, 48),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    class_pixels=(1, 1),
    class_weights=(1.0, 1.0),
)


def weights_uri(trial: TrialRecord) -> str:
    return f"s3://bucket/{trial.number}"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)  # artifacts go beside the database
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


@pytest.fixture
def study() -> Study:
    """One trial complete, one failed, one in the middle."""
    pool = load_space("smoke").pool(2)
    settings = {"budget": 30_000, "space": "smoke"}
    study = Study(optuna.storages.InMemoryStorage(), "s", pool, settings, seed=0)
    complete, failed, running = (study.propose() for _ in range(3))
    assert complete
    assert failed
    assert running
    for number, epochs in ((complete.number, 2), (running.number, 1)):
        for epoch in range(1, epochs + 1):
            result = EpochResult(epoch, 2, 1.0, 0.5, (0.5, math.nan), 1.0, 1.0)
            study.add_result(number, result, reached_ms=1_700_000_000_000 + epoch)
    study.complete(study.trial(complete.number))
    study.fail(failed.number, "the loss is nan in epoch 1")
    return study


@pytest.fixture
def track(study: Study, tmp_path: Path) -> Callable[[], StudyTracker]:
    """Opens a tracker as each run of a search does."""
    folder = tmp_path / "study"
    return lambda: StudyTracker(study, INFO, study.settings, weights_uri, folder, retry_s=0.1)


def runs(client: MlflowClient) -> tuple[Run, list[Run]]:
    experiment = client.get_experiment_by_name("squares")
    assert experiment
    found = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in found if run.info.run_id != parent.info.run_id]
    return parent, sorted(children, key=lambda run: int(run.data.tags["cgnet.trial"]))


def test_every_trial_of_a_study_is_there(
    client: MlflowClient, track: Callable[[], StudyTracker]
) -> None:
    tracker = track()
    assert tracker.close(finished=False) == 0
    parent, (complete, failed, running) = runs(client)

    assert parent.info.run_name == "s"
    assert parent.info.status == "KILLED"
    assert parent.data.params["space"] == "smoke"
    assert complete.info.status == "FINISHED"
    assert complete.data.metrics["val/iou/dark"] == 0.5
    assert "val/iou/light" not in complete.data.metrics, "it is nowhere in val"
    assert failed.info.status == "FAILED"
    assert failed.data.tags["cgnet.failure"] == "the loss is nan in epoch 1"
    assert running.info.status == "RUNNING"
    assert complete.data.tags[WEIGHTS_TAG] == "s3://bucket/0"
    assert not {WEIGHTS_TAG} & {*failed.data.tags, *running.data.tags}, "they have no network"
    assert [p.step for p in client.get_metric_history(complete.info.run_id, "train/loss")] == [1, 2]
    live = parent.data.metrics
    assert (live["trials/complete"], live["trials/failed"], live["trials/running"]) == (1, 1, 1)
    assert live["front/size"] == 1
    assert live["time/cpu_hours"] == pytest.approx(3 * 2 / 3600)


def test_the_filter_of_the_readme_answers_best_under_a_budget(
    client: MlflowClient, track: Callable[[], StudyTracker]
) -> None:
    track().close(finished=True)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (filter_string,) = re.findall(r"`` (metrics\.num_params.*?) ``", readme)
    experiment = client.get_experiment_by_name("squares")
    assert experiment
    found = client.search_runs(
        [experiment.experiment_id], filter_string, order_by=["metrics.`val/mean_iou` DESC"]
    )

    assert [run.data.tags["cgnet.trial"] for run in found] == ["0"]


@pytest.mark.parametrize("forgotten", [False, True], ids=["", "its outbox was lost"])
def test_a_second_driver_adds_no_run_and_no_metric(
    client: MlflowClient,
    study: Study,
    track: Callable[[], StudyTracker],
    tmp_path: Path,
    forgotten: bool,
) -> None:
    track().close(finished=False)
    before = runs(client)
    if forgotten:
        shutil.rmtree(tmp_path / "study")
    again = track()
    again.reached(study.trial(2))
    assert again.close(finished=True) == 0
    parent, children = runs(client)

    assert [run.info.run_id for run in children] == [run.info.run_id for run in before[1]]
    assert parent.info.status == "FINISHED"
    for run in children:
        history = client.get_metric_history(run.info.run_id, "val/mean_iou")
        assert len({point.step for point in history}) == len(history)


def test_files_are_attached_to_the_study(
    client: MlflowClient, track: Callable[[], StudyTracker], tmp_path: Path
) -> None:
    tracker = track()
    (tmp_path / "study" / "figures").mkdir()
    for name in ("front.json", "figures/front.png"):
        (tmp_path / "study" / name).write_text("{}")
    tracker.log_files(["front.json", "figures/front.png"])
    tracker.close(finished=True)
    run_id = runs(client)[0].info.run_id

    assert {file.path for file in client.list_artifacts(run_id)} == {"figures", "front.json"}
    assert [file.path for file in client.list_artifacts(run_id, "figures")] == ["figures/front.png"]


def test_a_table_is_replaced_by_the_next_runs_and_not_added_to(
    client: MlflowClient, track: Callable[[], StudyTracker]
) -> None:
    for count in (1, 2):
        tracker = track()
        rows = [{"trial": n, "architecture": {"widths": [8, 16, 32]}} for n in range(count)]
        tracker.log_table("front_table.json", rows)
        assert tracker.close(finished=True) == 0
    info = runs(client)[0].info
    table = client.load_table(info.experiment_id, "front_table.json", [info.run_id])

    assert table.to_dict("list") == {"trial": [0, 1], "widths": ["[8, 16, 32]"] * 2}


def test_messages_that_mlflow_refuses_are_counted(
    client: MlflowClient, track: Callable[[], StudyTracker]
) -> None:
    tracker = track()
    client.delete_run(runs(client)[0].info.run_id)
    tracker.tag({"a": "b"})

    assert tracker.close(finished=True) > 0


def test_an_mlflow_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    with pytest.raises(ServiceUnavailable, match="does not answer"):
        check_mlflow()


@pytest.mark.parametrize("error", [DataError("wrong"), KeyboardInterrupt()])
def test_a_search_that_fails_leaves_no_run_open(
    client: MlflowClient, track: Callable[[], StudyTracker], error: BaseException
) -> None:
    with pytest.raises(type(error)), closed_if_it_fails(track()):
        raise error

    assert runs(client)[0].info.status == "KILLED"


def test_a_full_disk_ends_the_thread_that_tells_mlflow(
    client: MlflowClient, study: Study, mount: Mount
) -> None:
    """And what was wrong first is what is told."""
    disk = mount()
    tracker = StudyTracker(study, INFO, study.settings, weights_uri, disk, retry_s=0.1)
    fill(disk)
    with pytest.raises(OSError, match="No space"):
        tracker.tag({"text": "x" * 8192})
    with pytest.raises(DataError, match="first"), closed_if_it_fails(tracker):
        raise DataError("first")

    assert not [thread for thread in threading.enumerate() if thread.name == "mlflow"]
