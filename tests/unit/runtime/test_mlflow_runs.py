"""Whether an error of MLflow's means that it refused, or that something is away."""

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE

from pipeline.runtime.mlflow_runs import is_refusal


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MlflowException("too long", INVALID_PARAMETER_VALUE), True),
        (MlflowException("away", INTERNAL_ERROR), False),
        (ConnectionError("away"), False),
        (S3UploadFailedError("away"), False),
        (EndpointConnectionError(endpoint_url="http://s3"), False),
        (ClientError({"Error": {"Code": "503"}}, "PutObject"), False),
        (ValueError("no such metric"), True),
    ],
)
def test_what_is_away_may_come_back(error: Exception, refused: bool) -> None:
    assert is_refusal(error) == refused
