"""Training groups on a real cluster: how they end."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.layout import Layout
from pipeline.runtime import cluster, groups
from pipeline.runtime.broker import Job, follow
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.tasks import in_process
from pipeline.sources.streets.source import Streets


@pytest.fixture
def _local_cluster() -> Iterator[None]:
    cluster.connect()
    yield
    ray.shutdown()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A training of long epochs."""
    source = Streets(num_train=200, num_val=1, image_size=(96, 144))
    info = shard_dataset(source, "streets", str(tmp_path / "data"), Layout(), run=in_process)
    spec = TrialSpec(
        Architecture(info.classes.num_classes, 3, 21),
        DataConfig(str(tmp_path / "data"), info.fingerprint),
        TrainConfig(epochs=3, batch_size=4),
        seed=0,
    )
    return Job(spec.id, spec.to_json(), str(tmp_path / "checkpoints"))


@pytest.mark.usefixtures("_local_cluster")
def test_a_group_that_is_amid_an_epoch_ends_in_time_with_its_threads_and_processes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread may be inside Ray when Ray is shut down."""
    monkeypatch.setattr(groups, "_PATIENCE_S", 3.0)
    before = set(threading.enumerate())
    with groups.training_groups(1, 1) as broker:
        _, event = next(follow(broker, [job]))
        workers = [p for p in psutil.process_iter() if p.name() == "ray::RayTrainWorker"]

    assert event.result is not None
    assert event.result.train_s > 4, "the second epoch would end by itself"
    assert set(threading.enumerate()) <= before
    assert workers
    assert psutil.wait_procs(workers, timeout=20)[1] == []
