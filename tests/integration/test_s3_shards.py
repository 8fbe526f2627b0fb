"""Reading shards from a real S3 through a proxy that breaks answers: all of it arrives, once."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import numpy as np
import pytest

from pipeline.core.errors import CorruptSample, ServiceUnavailable
from pipeline.runtime.s3_shards import Patience, S3Shards
from pipeline.runtime.storage import s3_client
from tests.fault_proxy import Fault, FaultPlan, FaultProxy

CONTENT = np.random.default_rng(5).bytes(400_000)
HASTY = Patience(attempts=5, backoff_s=0.001, grace_s=0.3, least_bytes_per_s=400_000)
EVERY = 1.0


Through = Callable[..., tuple[S3Shards, FaultProxy]]


@pytest.fixture
def client(s3: object) -> Any:
    client = s3_client(attempts=1)
    client.put_object(Bucket="cgnet", Key="faults/x.tar", Body=CONTENT)
    return client


@pytest.fixture
def through(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    """Return what puts a proxy with a plan before S3 and gives a reader through it."""
    upstream = client.meta.endpoint_url

    with ExitStack() as stack:

        def make(plan: FaultPlan, prefix: str = "faults") -> tuple[S3Shards, FaultProxy]:
            proxy = stack.enter_context(FaultProxy(upstream, plan))
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
            return S3Shards(s3_client(attempts=1), "cgnet", prefix, HASTY), proxy

        yield make


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.STALL])
def test_a_broken_answer_is_asked_for_again(through: Through, fault: Fault) -> None:
    plan = FaultPlan({fault: EVERY}, max_faults=3, cut_after_bytes=100_000, drip_bytes_per_s=50_000)
    shards, proxy = through(plan)

    assert shards.read("x.tar", 1000, 390_000) == CONTENT[1000:391_000]
    assert proxy.injected == {fault: 3}


def test_a_read_goes_on_from_the_byte_it_reached(through: Through) -> None:
    plan = FaultPlan({Fault.SHORT_BODY: EVERY}, cut_after_bytes=100_000, max_faults=3)
    shards, proxy = through(plan)

    assert shards.read("x.tar", 0, len(CONTENT)) == CONTENT
    starts = [int(re.findall(r"\d+", request.range)[0]) for request in proxy.requests]
    assert starts == sorted(set(starts)), "each request starts where the one before ended"
    assert starts[1] > 60_000, "a chunk is all that a break may cost"


def test_a_service_that_stays_broken_is_named_with_key_place_and_attempts(
    through: Through,
) -> None:
    shards, proxy = through(FaultPlan({Fault.SLOW_DOWN: EVERY}))

    with pytest.raises(ServiceUnavailable) as caught:
        shards.read("x.tar", 1000, 10)
    assert len(proxy.requests) == HASTY.attempts
    for words in ("s3://cgnet/faults/x.tar", "byte 1000", "5 attempts", "SlowDown", proxy.endpoint):
        assert words in str(caught.value)


def test_a_drip_that_never_ends_is_given_up(through: Through) -> None:
    shards, _ = through(FaultPlan({Fault.DRIP: EVERY}, drip_bytes_per_s=100_000))

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
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it has read the keys already
    shards, proxy = through(FaultPlan())

    with pytest.raises(ServiceUnavailable, match="SignatureDoesNotMatch"):
        shards.read("x.tar", 0, 10)
    assert len(proxy.requests) == 1
