"""The fault proxy before SeaweedFS: signed requests of both S3 clients get through and break."""

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from pipeline.learning.folder import read_bytes, write_bytes
from pipeline.runtime.storage import open_folder
from tests.fault_proxy import Fault, FaultPlan, FaultProxy
from tests.integration.conftest import RunningS3

CONTENT = bytes(range(256)) * 5000


def client_of(proxy: FaultProxy, attempts: int = 1) -> Any:
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.client("s3", endpoint_url=proxy.endpoint, config=config)


def test_boto3s_signed_requests_pass(s3: RunningS3) -> None:
    with FaultProxy(s3.address.endpoint, FaultPlan()) as proxy:
        client = client_of(proxy)
        client.put_object(Bucket=s3.bucket, Key="proxy/boto3", Body=CONTENT)
        answer = client.get_object(Bucket=s3.bucket, Key="proxy/boto3", Range="bytes=100-199")

        assert answer["Body"].read() == CONTENT[100:200]
        assert [(seen.method, seen.range) for seen in proxy.requests] == [
            ("PUT", ""),
            ("GET", "bytes=100-199"),
        ]


def test_arrows_signed_requests_pass(s3: RunningS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(s3.address.endpoint, FaultPlan()) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        folder = open_folder(f"s3://{s3.bucket}/proxy")
        write_bytes(folder, "arrow", CONTENT)

        assert read_bytes(folder, "arrow") == CONTENT
        assert {"HEAD", "GET"} <= {seen.method for seen in proxy.requests}


def test_a_wrong_key_is_still_refused(s3: RunningS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with (
        FaultProxy(s3.address.endpoint, FaultPlan()) as proxy,
        pytest.raises(ClientError, match="SignatureDoesNotMatch"),
    ):
        client_of(proxy).list_objects_v2(Bucket=s3.bucket)


def test_slow_down_is_understood_and_retried_by_boto3(s3: RunningS3) -> None:
    place = {"Bucket": s3.bucket, "Key": "proxy/throttled"}
    with FaultProxy(s3.address.endpoint, FaultPlan({Fault.SLOW_DOWN: 1.0}, max_faults=2)) as proxy:
        client_of(proxy).put_object(**place, Body=CONTENT)

        with pytest.raises(ClientError, match="SlowDown"):
            client_of(proxy).get_object(**place)
        assert client_of(proxy, attempts=2).get_object(**place)["Body"].read() == CONTENT
        assert proxy.injected[Fault.SLOW_DOWN] == 2


def test_a_reset_in_an_upload_leaves_no_object(s3: RunningS3) -> None:
    place = {"Bucket": s3.bucket, "Key": "proxy/lost"}
    plan = FaultPlan({Fault.RESET: 1.0}, methods=frozenset({"PUT"}))
    with FaultProxy(s3.address.endpoint, plan) as proxy:
        client = client_of(proxy)
        with pytest.raises(ConnectionClosedError):
            client.put_object(**place, Body=CONTENT)

        with pytest.raises(ClientError, match="NoSuchKey"):
            client.get_object(**place)


def test_an_early_end_is_an_error_to_boto3(s3: RunningS3) -> None:
    write_bytes(open_folder(f"s3://{s3.bucket}/proxy"), "short", CONTENT)
    with FaultProxy(s3.address.endpoint, FaultPlan({Fault.SHORT_BODY: 1.0})) as proxy:
        body = client_of(proxy).get_object(Bucket=s3.bucket, Key="proxy/short")["Body"]

        with pytest.raises(ResponseStreamingError, match="IncompleteRead"):
            body.read()
