"""Reading shards from a real S3 through a proxy that breaks answers: all of it arrives, once."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from botocore.response import StreamingBody

from pipeline.core.config import CachePolicy
from pipeline.core.errors import CorruptSample, ServiceUnavailable
from pipeline.core.layout import Layout
from pipeline.core.manifest import DatasetInfo
from pipeline.core.units import ShardSize
from pipeline.learning.dataset import open_dataset
from pipeline.learning.loader import Batch, TrainLoader, evaluation_batches
from pipeline.runtime.s3_shards import Patience, S3Shards
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import open_folder, s3_client
from pipeline.runtime.tasks import in_process
from pipeline.sources.streets.source import Streets
from tests.fault_proxy import Fault, FaultPlan, FaultProxy
from tests.integration.conftest import RunningS3, environment_of

STREETS = "s3://cgnet/faults/streets"
CONTENT = np.random.default_rng(5).bytes(400_000)
HASTY = Patience(attempts=5, backoff_s=0.001, grace_s=0.5, least_bytes_per_s=100_000)
STUBBORN = replace(HASTY, attempts=20)
EVERY = 1.0


Through = Callable[..., tuple[S3Shards, FaultProxy]]


@pytest.fixture
def client(s3: RunningS3) -> Any:
    client = s3_client(attempts=1)
    client.put_object(Bucket="cgnet", Key="faults/x.tar", Body=CONTENT)
    return client


@pytest.fixture
def through(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    """Return what puts a proxy with a plan before S3 and gives a reader through it."""
    upstream = client.meta.endpoint_url

    with ExitStack() as stack:

        def make(
            plan: FaultPlan, prefix: str = "faults", patience: Patience = HASTY
        ) -> tuple[S3Shards, FaultProxy]:
            proxy = stack.enter_context(FaultProxy(upstream, plan))
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
            client = s3_client(attempts=1)
            return S3Shards(lambda: client, "cgnet", prefix, patience), proxy

        yield make


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.STALL])
def test_a_broken_answer_is_asked_for_again(through: Through, fault: Fault) -> None:
    plan = FaultPlan({fault: EVERY}, max_faults=3, cut_after_bytes=100_000, drip_bytes_per_s=60_000)
    shards, proxy = through(plan)

    assert shards.read("x.tar", 1000, 390_000) == CONTENT[1000:391_000]
    assert proxy.injected == {fault: 3}


def test_a_read_goes_on_from_the_byte_it_reached(through: Through) -> None:
    plan = FaultPlan({Fault.SHORT_BODY: EVERY}, cut_after_bytes=100_000, max_faults=3)
    shards, proxy = through(plan)

    assert shards.read("x.tar", 0, len(CONTENT)) == CONTENT
    starts = [int(re.findall(r"\d+", request.range)[0]) for request in proxy.requests]
    assert starts == sorted(set(starts)), "each request starts where the one before ended"
    assert starts[1] > 60_000, "a piece is all that a break may cost"


def test_pieces_grow_with_what_has_come_up_to_a_megabyte(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(6).bytes(8 << 20)
    client.put_object(Bucket="cgnet", Key="faults/long.tar", Body=content)
    asked: list[int] = []

    def read(body: StreamingBody, size: int) -> bytes:
        asked.append(size)
        return read_of_body(body, size)

    read_of_body = StreamingBody.read
    monkeypatch.setattr(StreamingBody, "read", read)

    shards = S3Shards(lambda: client, "cgnet", "faults", HASTY)
    assert shards.read("long.tar", 0, len(content)) == content
    assert [size >> 10 for size in asked[:6]] == [64, 64, 128, 256, 512, 1024]
    assert set(asked[6:]) == {1 << 20}, "what is waited for, and lost by a break, has a bound"


def test_a_service_that_stays_broken_is_named_with_key_place_and_attempts(
    through: Through,
) -> None:
    shards, proxy = through(FaultPlan({Fault.SLOW_DOWN: EVERY}))

    with pytest.raises(ServiceUnavailable) as caught:
        shards.read("x.tar", 1000, 10)
    assert len(proxy.requests) == HASTY.attempts
    for words in ("s3://cgnet/faults/x.tar", "byte 1000", "5 attempts", "SlowDown", proxy.endpoint):
        assert words in str(caught.value)


@pytest.mark.usefixtures("s3")
def test_a_service_that_is_away_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, not listening: refuses
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{taken.getsockname()[1]}")
        client = s3_client(attempts=1)
        with pytest.raises(ServiceUnavailable, match="after 5 attempts"):
            S3Shards(lambda: client, "cgnet", "faults", HASTY).read("x.tar", 0, 10)


def test_a_drip_that_never_ends_is_given_up(through: Through) -> None:
    plan = FaultPlan({Fault.DRIP: EVERY}, drip_bytes_per_s=60_000)
    shards, _ = through(plan, patience=replace(HASTY, attempts=2))  # each takes a second

    with pytest.raises(ServiceUnavailable, match="TooSlow"):
        shards.read("x.tar", 0, len(CONTENT))


def test_what_is_not_there_is_not_asked_for_twice(through: Through) -> None:
    shards, proxy = through(FaultPlan())

    with pytest.raises(CorruptSample, match=r"s3://cgnet/faults/y.tar is missing"):
        shards.read("y.tar", 0, 10)
    with pytest.raises(CorruptSample, match="ends at byte 400000, wanted 400010"):
        shards.read("x.tar", 399_990, 20)
    with pytest.raises(CorruptSample, match="missing or too short"):
        shards.read("x.tar", 500_000, 20)
    assert len(proxy.requests) == 3


def test_wrong_keys_are_told_at_once(through: Through, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    shards, proxy = through(FaultPlan())

    with pytest.raises(ServiceUnavailable, match="SignatureDoesNotMatch"):
        shards.read("x.tar", 0, 10)
    assert len(proxy.requests) == 1


@pytest.fixture(scope="module")
def streets(s3_server: RunningS3) -> DatasetInfo:
    """Write a data set of 21 scenes in shards of five."""
    with environment_of(s3_server):
        source = Streets(num_train=17, num_val=4, image_size=(48, 64))
        layout = Layout(shard_size=ShardSize(5, "samples"))
        return shard_dataset(source, "streets", STREETS, layout, run=in_process)


BAD_WEATHER = {
    Fault.INTERNAL_ERROR: 0.1,
    Fault.SLOW_DOWN: 0.1,
    Fault.RESET: 0.1,
    Fault.RESET_IN_BODY: 0.1,
    Fault.SHORT_BODY: 0.1,
    Fault.DRIP: 0.03,
}


@pytest.mark.parametrize("cache", ["none", "disk", "memory"])
@pytest.mark.parametrize("seed", range(3))
def test_no_sample_is_lost_or_doubled_in_bad_weather(
    streets: DatasetInfo, through: Through, tmp_path: Path, cache: CachePolicy, seed: int
) -> None:
    """A third to a half of the requests fail; every batch is what it is in fair weather."""
    plan = FaultPlan(BAD_WEATHER, seed=seed, drip_bytes_per_s=60_000)
    folder, client = open_folder(STREETS), s3_client()  # neither through the proxy
    fair = open_dataset(folder, None, S3Shards(lambda: client, "cgnet", "faults/streets"))
    shards, proxy = through(plan, "faults/streets", STUBBORN)
    bad = open_dataset(folder, None, shards, tmp_path)

    for split in ("train", "val"):
        wanted, got = fair.split(split, "none"), bad.split(split, cache)
        for world_size in (1, 3):
            for rank in range(world_size):
                share = {"rank": rank, "world_size": world_size}
                assert_same(
                    evaluation_batches(wanted, 2, **share), evaluation_batches(got, 2, **share)
                )
    loaders = [
        TrainLoader(data.split("train", policy), batch_size=4, seed=1)
        for data, policy in ((fair, "none"), (bad, cache))
    ]
    for epoch in range(2):
        assert_same(*(loader.epoch(epoch) for loader in loaders))
    assert proxy.injected.total() >= 3


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_a_cached_shard_is_fetched_once_and_later_epochs_ask_for_nothing(
    streets: DatasetInfo, through: Through, tmp_path: Path, cache: CachePolicy
) -> None:
    shards, proxy = through(FaultPlan(), "faults/streets")
    dataset = open_dataset(open_folder(STREETS), None, shards, tmp_path)
    split = dataset.split("train", cache)
    loader = TrainLoader(split, batch_size=4, seed=0)

    list(loader.epoch(0))
    split.fetch(
        split.missing(np.arange(len(split))), lambda: False
    )  # what an epoch so short has not come to
    before = len(proxy.requests)
    list(loader.epoch(1))

    assert len(proxy.requests) == before
    # Samples of a shard that is on its way are read as well, but none from a tar's first byte on.
    whole = [seen.path for seen in proxy.requests if seen.range.startswith("bytes=0-")]
    assert whole
    assert sorted(set(whole)) == sorted(whole)


def assert_same(wanted: Iterator[Batch], got: Iterator[Batch]) -> None:
    for expected, batch in zip(wanted, got, strict=True):
        assert torch.equal(expected.image_BCHW, batch.image_BCHW)
        assert torch.equal(expected.label_BHW, batch.label_BHW)
