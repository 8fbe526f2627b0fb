"""Folders from URIs: ``s3://bucket/prefix`` on any S3 service, or a path on disk.

Endpoint, region and keys come from the AWS variables of the environment and from nowhere else, so
that nothing which is pickled, logged or shown can hold a key.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
from botocore.config import Config
from pyarrow.fs import FileSelector, FileType, LocalFileSystem, S3FileSystem, SubTreeFileSystem

from pipeline.core.errors import ServiceUnavailable, UsageError
from pipeline.core.manifest import DATASET_FILE
from pipeline.learning.folder import Folder, exists

_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403"}


def open_folder(uri: str, *, create: bool = True) -> Folder:
    """Return the folder a URI names; it need not exist yet, the bucket must.

    Args:
        uri: ``s3://bucket/...`` or a path.
        create: make a local folder that is not there; False touches nothing.

    Raises:
        UsageError: the URI is neither ``s3://bucket/...`` nor a path.
    """
    scheme, bucket, path = split_uri(uri)
    if scheme == "s3":
        return SubTreeFileSystem(f"{bucket}/{path}".rstrip("/"), _s3())
    local = Path(uri).expanduser().resolve()
    if create:
        local.mkdir(parents=True, exist_ok=True)
    return SubTreeFileSystem(str(local), LocalFileSystem())


def absolute_uri(uri: str) -> str:
    """Return a URI that means the same from every folder."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())


def prepare(uri: str, *, create: bool = True) -> None:
    """Make sure that we may use the place a URI names.

    Args:
        uri: ``s3://bucket/...`` or a path.
        create: make a bucket that is not there; False touches nothing.

    Raises:
        ServiceUnavailable: S3 does not answer, or refuses the keys.
        UsageError: see ``open_folder``.
    """
    scheme, bucket, _ = split_uri(uri)
    if scheme != "s3":
        return
    with telling_why(bucket):
        client = s3_client()
        try:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except client.exceptions.NoSuchBucket:
            if create:
                client.create_bucket(Bucket=bucket)


def abort_uploads(uri: str) -> int:
    """Drop what killed writers left half uploaded below a URI; return how many uploads.

    Such parts are invisible and cost storage until somebody aborts them.

    Raises:
        ServiceUnavailable: see ``prepare``.
    """
    scheme, bucket, path = split_uri(uri)
    if scheme != "s3":
        return 0
    with telling_why(bucket):
        client = s3_client()
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=f"{path}/" if path else ""
        )
        uploads = [upload for page in pages for upload in page.get("Uploads", [])]
        for upload in uploads:
            client.abort_multipart_upload(
                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )
    return len(uploads)


def s3_client(attempts: int = 3, connections: int = 10) -> Any:
    """Return a boto3 client for the endpoint and keys of the environment; threads may share it."""
    # A session of its own: boto3's default one keeps the first keys it was used with.
    return boto3.session.Session().client(
        "s3",
        config=Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=connections,
            # Samples have a sha256 of their own, which covers the way into memory too.
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        ),
    )


def endpoint_name() -> str:
    """Return where S3 is, for messages."""
    return _endpoint() or "AWS"


def dataset_names(store: str) -> list[str]:
    """Return the names of the data sets under a store's ``datasets`` folder."""
    folder = open_folder(store)
    selector = FileSelector("datasets", allow_not_found=True)
    found = [info.base_name for info in folder.get_file_info(selector) if _is_directory(info)]
    return sorted(name for name in found if exists(folder, f"datasets/{name}/{DATASET_FILE}"))


def is_uri(text: str) -> bool:
    """Return whether ``text`` names a place rather than a data set by name."""
    return "/" in text or text.startswith(".")


def _is_directory(info: object) -> bool:
    return bool(getattr(info, "type", None) == FileType.Directory)


def split_uri(uri: str) -> tuple[str, str, str]:
    """Return the scheme (s3 or empty), bucket and path of a URI.

    Raises:
        UsageError: the URI is neither ``s3://bucket/...`` nor a path.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "s3") or (parts.scheme == "s3" and not parts.netloc):
        raise UsageError(f"{uri!r} is no place for data: write s3://bucket/prefix or a folder")
    return parts.scheme, parts.netloc, parts.path.strip("/")


@contextmanager
def telling_why(bucket: str) -> Iterator[None]:
    """Turn what boto3 raises into one line that says what to check.

    Raises:
        ServiceUnavailable: instead.
    """
    endpoint = endpoint_name()
    try:
        yield
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.NoRegionError) as cause:
        raise ServiceUnavailable(
            f"S3 at {endpoint}: {cause}; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_DEFAULT_REGION"
        ) from cause
    except botocore.exceptions.ClientError as cause:
        code = cause.response["Error"]["Code"]
        hint = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if code in _WRONG_KEYS else ""
        raise ServiceUnavailable(
            f"S3 at {endpoint} refuses bucket {bucket}: {code}; {hint or 'check its name'}"
        ) from cause
    except (botocore.exceptions.BotoCoreError, ValueError) as cause:
        raise ServiceUnavailable(
            f"S3 at {endpoint} does not answer ({type(cause).__name__}); check "
            "AWS_ENDPOINT_URL_S3, or unset it to use the local S3"
        ) from cause


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _s3() -> S3FileSystem:
    # Arrow reads the keys from the environment itself; the endpoint it does not.
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
    timeouts = {"connect_timeout": 10, "request_timeout": 60}
    if (endpoint := _endpoint()) is None:
        return S3FileSystem(region=region, **timeouts)
    parts = urlsplit(endpoint)
    return S3FileSystem(
        endpoint_override=parts.netloc,
        scheme=parts.scheme,
        region=region or "us-east-1",
        force_virtual_addressing=False,
        **timeouts,
    )
