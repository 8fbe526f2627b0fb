"""A look at a Ray cluster without joining it."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ServiceUnavailable

_CONNECT_LIMIT_S = 5.0
_ANSWER_LIMIT_S = 20.0


@dataclass(frozen=True)
class Versions:
    """What must be equal on all nodes."""

    ray: str
    python: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"Ray {self.ray} on Python {self.python}"


def check_token(environment: Mapping[str, str], home: Path) -> None:
    """Make sure that there is a token where the environment asks for one.

    Without, Ray 2.60 ends the whole process with a trace of its C++ code.

    Raises:
        ServiceUnavailable: there is none.
    """
    if environment.get("RAY_AUTH_MODE") != "token" or environment.get("RAY_AUTH_TOKEN"):
        return
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    try:
        token = path.read_text().strip()
    except OSError as cause:
        raise ServiceUnavailable(
            f"Ray: RAY_AUTH_MODE is token, and {path} cannot be read ({cause.strerror}): copy the "
            "cluster's token there, or set RAY_AUTH_TOKEN_PATH"
        ) from cause
    if not token:
        raise ServiceUnavailable(f"Ray: {path} is empty: copy the cluster's token there")


def versions(address: str) -> Versions:
    """Return the versions of the cluster at ``host:port``.

    Raises:
        ServiceUnavailable: it does not answer, or refuses our token.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ServiceUnavailable(f"RAY_ADDRESS is {address!r}: write host:port, such as head:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_LIMIT_S).close()
    except OSError as cause:
        raise ServiceUnavailable(
            f"Ray at {address} does not answer ({cause.strerror or cause}); check RAY_ADDRESS and "
            "that 'ray start --head' runs there"
        ) from cause
    return _asked(address)


def _asked(address: str) -> Versions:
    # In a process of its own: Ray's client may end its process, and waits for 40 s.
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, address],
            capture_output=True,
            text=True,
            timeout=_ANSWER_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise ServiceUnavailable(
            f"what listens at {address} does not answer as Ray does; check RAY_ADDRESS"
        ) from cause
    if done.returncode == 0:
        return Versions(**json.loads(done.stdout.splitlines()[-1]))
    if "InvalidAuthToken" in done.stderr:
        raise ServiceUnavailable(
            f"Ray at {address} refuses our token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH "
            "to a file with the cluster's"
        )
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise ServiceUnavailable(f"Ray at {address}: {reason}; check RAY_ADDRESS")


_ASK = """
import json, sys
from ray._common.usage.usage_lib import get_cluster_metadata
from ray._raylet import GcsClient

told = get_cluster_metadata(GcsClient(address=sys.argv[1]))
print(json.dumps({"ray": told["ray_version"], "python": told["python_version"]}))
"""
