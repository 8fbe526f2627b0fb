"""Ranges of shards from S3, through whatever a network and a service can do on the way.

Reads whole or not at all: a request that fails, stalls or breaks off is followed by one for the
bytes still missing.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.exceptions
import urllib3.exceptions

from pipeline.core.config import DataConfig
from pipeline.core.errors import CorruptSample, ServiceUnavailable
from pipeline.learning.dataset import Dataset, open_dataset
from pipeline.learning.shards import ShardStore
from pipeline.runtime.storage import endpoint_name, open_folder, s3_client, split_uri

# A piece is what a break can cost, and what comes before anyone sees how slowly it came. Large ones
# take less processor time; so each is as large as what has come already, within these.
_LEAST_PIECE_BYTES, _MOST_PIECE_BYTES = 64 << 10, 1 << 20
_CONNECTIONS = 16  # as many as read one split at a time
_MISSING_CODES = {"NoSuchKey", "404", "InvalidRange", "416"}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "Throttling", "429"}
_BROKEN = (
    botocore.exceptions.ConnectionError,  # that cannot be made
    botocore.exceptions.HTTPClientError,  # that break, time-outs
    botocore.exceptions.IncompleteReadError,
    urllib3.exceptions.HTTPError,  # while the body is read
    OSError,
)


class _TooSlow(Exception):
    """A request that answers, but would take for ever."""


@dataclass(frozen=True)
class Patience:
    """How long a read is tried.

    Attributes:
        attempts: requests in a row that bring nothing, or that little that slowly.
        backoff_s: pause before the second request; doubles with each, and is drawn from half of
            that up to all, so that many workers do not come back at once.
        longest_backoff_s: the most it grows to.
        least_bytes_per_s: a request slower than this after ``grace_s`` is given up.
        grace_s: see there.
    """

    attempts: int = 6
    backoff_s: float = 0.2
    longest_backoff_s: float = 10.0
    least_bytes_per_s: float = 32 << 10
    grace_s: float = 10.0


class S3Shards:
    """A ``ShardStore`` on S3."""

    def __init__(
        self,
        client: Callable[[], Any],
        bucket: str,
        prefix: str,
        patience: Patience = Patience(),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read below ``s3://bucket/prefix``.

        Args:
            client: returns a boto3 client that does not retry by itself, the same at each call.
            bucket: see above.
            prefix: likewise.
            patience: see there.
            sleep: pauses for so many seconds.
            clock: tells seconds.
        """
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._patience = patience
        self._sleep = sleep
        self._clock = clock

    def read(self, shard: str, start: int, length: int) -> memoryview:
        """Return a range, see ``ShardStore``."""
        content = bytearray(length)
        received = failures = 0
        while received < length:
            before = received
            cause: Exception | None = None
            try:
                for piece in self._pieces(shard, start + received, length - received):
                    content[received : received + len(piece)] = piece
                    received += len(piece)
            except (*_BROKEN, _TooSlow) as error:
                cause = error
            except botocore.exceptions.ClientError as error:
                if not _is_transient(error):
                    raise self._refused(shard, error) from error
                cause = error
            if received < length:
                moved = received > before and not isinstance(cause, _TooSlow)
                failures = 1 if moved else failures + 1
                if failures >= self._patience.attempts:
                    raise self._given_up(shard, start + received, cause) from cause
                self._sleep(self._pause_s(failures))
        return memoryview(content)

    def _pieces(self, shard: str, start: int, length: int) -> Iterator[bytes]:
        """Yield what one request brings, in order."""
        began = self._clock()
        response = self._client().get_object(
            Bucket=self._bucket,
            Key=self._key(shard),
            Range=f"bytes={start}-{start + length - 1}",
        )
        shard_bytes = int(response["ContentRange"].rpartition("/")[2])
        if shard_bytes < start + length:
            raise CorruptSample(
                f"{self._uri(shard)} ends at byte {shard_bytes}, wanted {start + length}"
            )
        received = 0
        with closing(response["Body"]) as body:
            while piece := body.read(min(max(received, _LEAST_PIECE_BYTES), _MOST_PIECE_BYTES)):
                yield piece
                received += len(piece)
                elapsed = self._clock() - began
                slow = received < elapsed * self._patience.least_bytes_per_s
                if received < length and elapsed > self._patience.grace_s and slow:
                    raise _TooSlow(f"{received} bytes in {elapsed:.0f} s")

    def _pause_s(self, failures: int) -> float:
        patience = self._patience
        longest = min(patience.longest_backoff_s, patience.backoff_s * 2 ** (failures - 1))
        return random.uniform(longest / 2, longest)

    def _key(self, shard: str) -> str:
        return f"{self._prefix}/{shard}" if self._prefix else shard

    def _uri(self, shard: str) -> str:
        return f"s3://{self._bucket}/{self._key(shard)}"

    def _refused(self, shard: str, error: botocore.exceptions.ClientError) -> Exception:
        code = error.response["Error"]["Code"]
        if code in _MISSING_CODES:
            return CorruptSample(f"{self._uri(shard)} is missing or too short ({code})")
        skewed = code == "RequestTimeTooSkewed"
        advice = "set the clock of this machine" if skewed else "check the keys' rights"
        return ServiceUnavailable(
            f"S3 at {endpoint_name()} refuses {self._uri(shard)}: {code}; {advice}"
        )

    def _given_up(self, shard: str, position: int, cause: Exception | None) -> Exception:
        reason = f"{type(cause).__name__}: {cause}" if cause else "the answer ends too early"
        return ServiceUnavailable(
            f"S3 at {endpoint_name()}: {self._uri(shard)} cannot be read from byte {position} on, "
            f"after {self._patience.attempts} attempts ({reason}); check the service"
        )


def open_stored(
    uri: str, expected: DataConfig | None = None, cache_dir: Path | None = None
) -> Dataset:
    """Open the data set at a URI, on S3 or on this machine; see ``open_dataset``.

    Raises:
        DataError: see there.
    """
    shards = _open_shards(uri)  # its client is made while the manifest is read
    return open_dataset(open_folder(uri, create=False), expected, shards, cache_dir)


def _open_shards(uri: str) -> ShardStore | None:
    """Return what reads the shards of a data set on S3; None for a folder of this machine."""
    scheme, bucket, prefix = split_uri(uri)
    if scheme != "s3":
        return None
    making = ThreadPoolExecutor(1, thread_name_prefix="s3-client")
    client = making.submit(s3_client, attempts=1, connections=_CONNECTIONS)
    making.shutdown(wait=False)
    return S3Shards(client.result, bucket, prefix)


def _is_transient(error: botocore.exceptions.ClientError) -> bool:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status >= 500 or error.response["Error"]["Code"] in _TRANSIENT_CODES
