"""The folder where the local services keep data, logs, keys and what is known of them.

services/            0700
  credentials.json   0600, made once
  state.json         ports and processes of the last start
  env.sh             0600, while services run: what a shell needs to use them
  lock               held while services are started or stopped
  logs/  s3/  mlflow/
"""

import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import loopback, process
from pipeline.runtime.process import ProcessIdentity

# The name of the port that a server's clients use.
HTTP = "http"

# Longer than the slowest start of both services.
_LOCK_LIMIT_S = 120.0
_LOCK_POLL_S = 0.05


@dataclass(frozen=True)
class Credentials:
    """The one pair of keys that opens the local S3."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ServerRecord:
    """What is remembered of a server between two commands.

    ``processes`` starts with the leader and is empty while the server is stopped; the ports are
    then those to prefer next time. ``is_ready`` is true once the server did its work one time.
    ``upstream`` is the address of the server this one was told to use, if any.
    """

    ports: Mapping[str, int]
    processes: tuple[ProcessIdentity, ...] = ()
    is_ready: bool = False
    upstream: str = ""

    @property
    def address(self) -> str:
        """Return the URL for its clients."""
        return loopback.url(self.ports[HTTP])

    @property
    def is_running(self) -> bool:
        """Return whether its leader still runs, ready or not."""
        return bool(self.processes) and process.is_running(self.processes[0])


@dataclass(frozen=True)
class ServiceFolder:
    """The files of one set of services; nothing is made before it is needed."""

    root: Path

    @classmethod
    def in_state_dir(cls, state_dir: Path) -> "ServiceFolder":
        """Return the folder for services inside ``state_dir``."""
        return cls(state_dir.absolute() / "services")

    @property
    def shell_file(self) -> Path:
        """Return the file that a shell can source."""
        return self.root / "env.sh"

    def data(self, name: str) -> Path:
        """Return the folder in which service ``name`` runs."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Return the file that takes the output of service ``name``."""
        return self.root / "logs" / f"{name}.log"

    def credentials(self) -> Credentials:
        """Return the keys, the same ones for ever once made."""
        path = self.root / "credentials.json"
        if not path.exists():
            made = Credentials(secrets.token_hex(10).upper(), secrets.token_hex(20))
            write_private(path, json.dumps(asdict(made), indent=2) + "\n")
        try:
            return Credentials(**_read_json(path))
        except TypeError as cause:
            raise _unreadable(path, cause) from cause

    def records(self) -> dict[str, ServerRecord]:
        """Return what is known of every service that was ever started here, by name."""
        path = self.root / "state.json"
        stored = _read_json(path) if path.exists() else {}
        try:
            return {name: _record_from_json(fields) for name, fields in stored.items()}
        except (TypeError, KeyError, AttributeError) as cause:
            raise _unreadable(path, cause) from cause

    def remember(self, name: str, record: ServerRecord) -> None:
        """Store ``record`` as what is known of service ``name``."""
        records = {**self.records(), name: record}
        stored = {
            key: {**asdict(value), "address": value.address} for key, value in records.items()
        }
        write_private(self.root / "state.json", json.dumps(stored, indent=2) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other command from starting or stopping services here meanwhile.

        Raises:
            ServiceUnavailable: another command has not let go in time, or there is no such folder
                and none can be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as cause:
            raise ServiceUnavailable(
                f"{self.root} is no folder of ours: {cause.strerror}"
            ) from cause
        with (self.root / "lock").open("w") as lock:
            deadline = time.monotonic() + _LOCK_LIMIT_S
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(
                        f"another command has held {lock.name} for {_LOCK_LIMIT_S:.0f} s: "
                        "wait for it or end it"
                    )
                time.sleep(_LOCK_POLL_S)
            yield


def write_private(path: Path, text: str) -> None:
    """Write ``path`` in one step, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    Path(name).replace(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise _unreadable(path, cause) from cause
    return content


def _record_from_json(fields: dict[str, Any]) -> ServerRecord:
    return ServerRecord(
        ports=fields["ports"],
        processes=tuple(ProcessIdentity(**identity) for identity in fields["processes"]),
        is_ready=fields["is_ready"],
        upstream=fields["upstream"],
    )


def _unreadable(path: Path, cause: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"{path} cannot be read ({cause}): end the services by hand and delete it"
    )
