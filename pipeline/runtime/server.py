"""One local server process: how it is launched, and when it counts as ready."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import loopback, process
from pipeline.runtime.service_state import HTTP, ServerRecord, write_private

log = logging.getLogger(__name__)

_POLL_S = 0.05
_READ_FROM_END_BYTES = 4096
# Settings of other services of the same kinds: somebody's cloud, somebody's cluster.
_FOREIGN = ("AWS_", "S3_", "WEED_", "MLFLOW_", "_MLFLOW_")


class PortTaken(ServiceUnavailable):
    """Somebody else took a port between its choice and its use: try again with others."""


@dataclass(frozen=True)
class Health:
    """The request that a healthy server answers with 200 and exactly ``body``."""

    path: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a server is started and recognised.

    ``command`` makes the command line from the chosen ports, of which the one named ``http`` is
    for clients. Every port p is taken together with p + offset for all ``port_offsets``.
    ``files`` are written into ``folder``, where it runs, before it starts.
    It is ready when it is healthy and ``try_out``, given its address, did once what clients do.
    """

    name: str
    command: Callable[[Mapping[str, int]], Sequence[str]]
    environment: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str] = field(repr=False, default_factory=dict)
    folder: Path
    log: Path
    default_ports: Mapping[str, int]
    port_offsets: Sequence[int] = (0,)
    health: Health
    try_out: Callable[[str], bool] = lambda address: True
    start_limit_s: float
    upstream: str = ""


def private_environment(**own: str) -> dict[str, str]:
    """Return the environment for a server: ours, less what is meant for others, plus ``own``."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(_FOREIGN)}
    return {**inherited, **loopback.past_proxies(), **own}


def launch(server: Server, *, preferred_ports: Mapping[str, int]) -> ServerRecord:
    """Start the processes of ``server`` without waiting for them."""
    ports = loopback.choose_ports(
        {**server.default_ports, **preferred_ports}, offsets=server.port_offsets
    )
    for name, text in server.files.items():
        write_private(server.folder / name, text)
    leader = process.start_detached(
        server.command(ports), environment=server.environment, folder=server.folder, log=server.log
    )
    log.info("server started: name=%s pid=%d port=%d", server.name, leader.pid, ports[HTTP])
    return ServerRecord(ports=ports, processes=(leader,), upstream=server.upstream)


def is_healthy(record: ServerRecord, health: Health) -> bool:
    """Return whether the recorded processes, and nobody in their place, answer as they should."""
    return (
        record.is_running
        and process.listens(record.processes, record.ports[HTTP])
        and loopback.fetch(record.ports[HTTP], health.path) == health.body
    )


def wait_until_ready(server: Server, record: ServerRecord) -> ServerRecord:
    """Return ``record`` of a server that works, with all of its processes.

    Raises:
        PortTaken: it ended because it could not listen where it was told to.
        ServiceUnavailable: it ended, or is not ready within its limit.
    """
    deadline = time.monotonic() + server.start_limit_s
    while time.monotonic() < deadline:
        if not record.is_running:
            raise _ended(server, record)
        if loopback.fetch(record.ports[HTTP], server.health.path) == server.health.body:
            # Somebody answers: only now is it worth going through all processes of the machine.
            record = replace(record, processes=process.with_descendants(record.processes[0]))
            if is_healthy(record, server.health) and server.try_out(record.address):
                return replace(record, is_ready=True)
        time.sleep(_POLL_S)
    raise ServiceUnavailable(
        f"{server.name} is not ready after {server.start_limit_s:.0f} s: stop it with "
        f"'python -m pipeline.services down' and see {server.log} ({last_line(server.log)})"
    )


def last_line(log_file: Path) -> str:
    """Return the last line of ``log_file`` that is not blank."""
    try:
        with log_file.open("rb") as stream:
            stream.seek(max(0, log_file.stat().st_size - _READ_FROM_END_BYTES))
            lines = stream.read().decode(errors="replace").split("\n")
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "empty")


def _ended(server: Server, record: ServerRecord) -> ServiceUnavailable:
    wanted = [port + offset for port in record.ports.values() for offset in server.port_offsets]
    taken = [str(port) for port in wanted if not loopback.is_free(port)]
    if taken:
        return PortTaken(
            f"{server.name} lost port {', '.join(taken)} to another program: try again"
        )
    return ServiceUnavailable(
        f"{server.name} ended while starting: see {server.log} ({last_line(server.log)})"
    )
