"""A PostgreSQL of the tests' own, skipped with the reason where there can be none."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from pipeline.runtime import loopback

PASSWORD = "hush-hush"


@dataclass(frozen=True)
class Server:
    """One server on data of its own."""

    folder: str
    port: int
    password: str = field(default=PASSWORD, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://cgnet:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-w", "-m", "immediate", "stop")

    def kill(self) -> None:
        """Kill the server and what serves its connections at once, as a lost machine does."""
        pid = int(Path(self.folder, "data", "postmaster.pid").read_text().split()[0])
        leader = psutil.Process(pid)
        for one in [leader, *leader.children(recursive=True)]:
            with suppress(psutil.Error):
                one.send_signal(signal.SIGKILL)
        leader.wait(10)

    def _control(self, *words: str) -> None:
        _run(_program("pg_ctl"), "-D", f"{self.folder}/data", *words)


@contextmanager
def running_postgresql() -> Iterator[Server]:
    """Run a server while the context is open."""
    initdb, port = _program("initdb"), loopback.choose_ports({"pg": 25432})["pg"]
    # Pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="cgnet-pg-", ignore_cleanup_errors=True) as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        Path(folder, "password").write_text(PASSWORD)
        words = ["-U", "cgnet", "-A", "scram-sha-256", f"--pwfile={folder}/password"]
        _run(initdb, "-D", f"{folder}/data", *words)
        server = Server(folder, port)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program(name: str) -> str:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(debian[-1]) if debian else shutil.which(name)
    if found is None:
        pytest.skip(f"PostgreSQL is not installed on this machine: there is no {name}")
    return found


def _run(*words: str) -> None:
    """Run a program of PostgreSQL's, which does not like to be root's."""
    if os.getuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser to be another")
    other = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
    subprocess.run([*other, *words], cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60)
