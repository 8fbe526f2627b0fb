"""Shards written by Ray tasks, in a folder and on a real S3."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import boto3
import numpy as np
import pytest
import ray
from botocore.config import Config

from pipeline.core.errors import DataError
from pipeline.core.layout import Layout
from pipeline.core.units import ShardSize
from pipeline.runtime import cluster
from pipeline.runtime.sharding import plan_dataset, shard_dataset
from pipeline.runtime.storage import abort_uploads, open_folder
from pipeline.runtime.tasks import in_process, on_cluster
from pipeline.runtime.verification import verify_dataset
from pipeline.sources.streets.source import Streets
from tests.integration.conftest import RunningS3

SOURCE = Streets(num_train=20, num_val=3, image_size=(32, 48))
LAYOUT = Layout(shard_size=ShardSize(3, "samples"))


@pytest.fixture(scope="module", autouse=True)
def _local_cluster() -> Iterator[None]:
    """Start a cluster that runs three tasks at a time wherever it is."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 3}')
        cluster.connect(trains=False)
    assert cluster.num_cpus() == 3
    yield
    ray.shutdown()


@pytest.fixture
def place(s3: RunningS3, tmp_path: Path) -> str:
    """The URI of a folder on S3 that no other test uses."""
    return f"s3://{s3.bucket}/{tmp_path.name}/streets"


def killed(done: int, total: int) -> None:
    """Progress that ends the run after the second shard."""
    if done == 6:
        raise LookupError("stands for a kill")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    runs = {"here": in_process, "1": partial(on_cluster, in_flight=1)}
    runs["3"] = partial(on_cluster, in_flight=3)
    for name, run in runs.items():
        shard_dataset(SOURCE, "streets", str(tmp_path / name), LAYOUT, run=run)

    assert files(tmp_path / "here") == files(tmp_path / "1") == files(tmp_path / "3")
    assert len(list((tmp_path / "3").rglob("*.tar"))) == 8


def test_the_source_goes_to_the_cluster_once_and_tasks_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many items there are, and however large what they share."""
    drawn, ended, ahead = 0, 0, []
    shared = np.zeros(1_000_000)
    puts = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: puts.append(value) or put(value))

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(40):
            drawn += 1
            ahead.append(drawn - ended)
            yield item

    for _ in on_cluster(partial(np.add, shared), items(), in_flight=4):
        ended += 1

    assert (ended, len(puts)) == (40, 1)
    assert max(ahead) <= 5


def test_the_first_sample_that_cannot_be_read_ends_it_in_its_own_words() -> None:
    with pytest.raises(DataError, match="streets has no sample train/999999"):
        list(on_cluster(partial(SOURCE.read, "train"), ["000001", "999999"]))


def test_on_s3_nothing_is_left_but_the_data_set(s3: RunningS3, place: str) -> None:
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    prefix = place.removeprefix(f"s3://{s3.bucket}/")
    for folder in (f"{prefix}/gen", f"{prefix}-2"):
        client.create_multipart_upload(Bucket=s3.bucket, Key=f"{folder}/train.tar")

    assert abort_uploads(place) == 1
    assert abort_uploads(place) == 0
    assert abort_uploads(f"{place}-2") == 1, "a neighbour's was left alone"
    # The cluster's workers have the environment from before there was this S3.
    with pytest.raises(LookupError, match="stands for a kill"):
        shard_dataset(SOURCE, "streets", place, LAYOUT, killed, in_process)
    assert plan_dataset(SOURCE, "streets", place, LAYOUT).num_finished == 2
    info = shard_dataset(SOURCE, "streets", place, LAYOUT, run=in_process)
    again = Layout(shard_size=ShardSize(30, "samples"))
    second = shard_dataset(SOURCE, "streets", place, again, run=in_process)
    listed = client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{prefix}/")["Contents"]

    assert second.fingerprint == info.fingerprint
    assert {item["Key"].removeprefix(f"{prefix}/") for item in listed if item["Size"]} == {
        "dataset.json",
        f"{second.generation}/manifest.parquet",
        f"{second.generation}/train-000000.tar",
        f"{second.generation}/val-000000.tar",
    }
    assert verify_dataset(place, run=in_process).num_wrong == 0
    open_folder(place).delete_file(f"{second.generation}/val-000000.tar")
    assert verify_dataset(place, run=in_process).told == (
        f"{second.generation}/val-000000.tar is missing",
    )
