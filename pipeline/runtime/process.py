"""Processes that outlive the command which starts them: start, recognise, stop.

A pid alone names nobody once its process has ended: another may have it after a restart of the
machine. So a process is known by its pid, when it was created and since which boot. That is counted
from the boot: the time of day of a boot moves whenever the clock is set.
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

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_JITTER_S = 2.0  # the kernel tells the time of boot, which is taken off again, in whole seconds
_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, not to be mistaken for a later one with the same pid.

    Attributes:
        pid: as long as it runs, of no other.
        created_s: seconds from the boot until it was created.
        boot: which boot; "" where the system does not tell.
    """

    pid: int
    created_s: float
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """Return what the process that has this pid now is known by.

        Raises:
            psutil.Error: none has.
        """
        created_s = psutil.Process(pid).create_time() - psutil.boot_time()
        return cls(pid, created_s, _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "")

    def is_same(self, other: "ProcessIdentity") -> bool:
        """Return whether both name one process."""
        same_number = (self.pid, self.boot) == (other.pid, other.boot)
        return same_number and abs(self.created_s - other.created_s) <= _JITTER_S


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
    identity = ProcessIdentity.of(process.pid)
    # It outlives this object on purpose. If it ends before we do, subprocess reaps it later.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        del process
    return identity


def is_running(process: ProcessIdentity) -> bool:
    """Return whether this very process still runs; one that only waits to be reaped does not."""
    try:
        is_it = process.is_same(ProcessIdentity.of(process.pid))
        return is_it and psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def with_descendants(leader: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """Return ``leader`` and then every process below it at this moment."""
    members = [leader]
    with suppress(psutil.Error):
        for child in psutil.Process(leader.pid).children(recursive=True):
            with suppress(psutil.Error):
                members.append(ProcessIdentity.of(child.pid))
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
