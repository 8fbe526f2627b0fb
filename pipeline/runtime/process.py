"""Processes that outlive the command which starts them: start, recognise, stop.

A pid alone names nobody once its process has ended: another may have it after a restart of the
machine. So a process is known by its pid together with the time it was created.
"""

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.core.errors import ServiceUnavailable

# Linux counts creation from the boot time, which the kernel reports in whole seconds.
_CREATE_TIME_JITTER_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, not to be mistaken for a later one with the same pid.

    ``create_time`` is in seconds since 1970.
    """

    pid: int
    create_time: float


def start_detached(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> ProcessIdentity:
    """Start ``command`` as the leader of its own session, so that no Ctrl-C or hang-up reaches it.

    Args:
        command: the program and its arguments.
        environment: all that the program sees of the environment.
        folder: where it runs, made if missing; files it makes are its owner's alone.
        log: takes both output streams; what an earlier start wrote is kept beside it.

    Raises:
        ServiceUnavailable: the program cannot be executed.
    """
    for needed in (folder, log.parent):
        needed.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".previous.log"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    except OSError as cause:
        raise ServiceUnavailable(f"{command[0]} cannot be started: {cause.strerror}") from cause
    finally:
        os.close(descriptor)
    identity = ProcessIdentity(process.pid, psutil.Process(process.pid).create_time())
    # It outlives this object on purpose. If it ends before we do, subprocess reaps it later.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        del process
    return identity


def is_running(process: ProcessIdentity) -> bool:
    """Return whether this very process still runs; one that only waits to be reaped does not."""
    try:
        found = psutil.Process(process.pid)
        return (
            abs(found.create_time() - process.create_time) <= _CREATE_TIME_JITTER_S
            and found.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def with_descendants(leader: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """Return ``leader`` and then every process below it at this moment."""
    members = [leader]
    with suppress(psutil.Error):
        for child in psutil.Process(leader.pid).children(recursive=True):
            with suppress(psutil.Error):
                members.append(ProcessIdentity(child.pid, child.create_time()))
    return tuple(members)


def listens(processes: Sequence[ProcessIdentity], port: int) -> bool:
    """Return whether one of ``processes`` itself, not a stranger, listens on TCP ``port``."""
    for process in processes:
        with suppress(psutil.Error):
            for socket in psutil.Process(process.pid).net_connections(kind="tcp"):
                if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port:
                    return True
    return False


def stop(processes: Sequence[ProcessIdentity], *, patience_s: float) -> None:
    """End the process groups of those of ``processes`` that still run.

    They are asked with SIGTERM, and killed after ``patience_s`` seconds.

    Raises:
        ServiceUnavailable: one is there even after SIGKILL.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_groups(processes, number)
        deadline = time.monotonic() + patience_s
        while any(map(is_running, processes)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    stubborn = [str(process.pid) for process in processes if is_running(process)]
    if stubborn:
        raise ServiceUnavailable(f"processes {', '.join(stubborn)} do not end: end them by hand")


def _signal_groups(processes: Sequence[ProcessIdentity], number: signal.Signals) -> None:
    groups = set()
    for process in filter(is_running, processes):
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(process.pid))
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, number)
