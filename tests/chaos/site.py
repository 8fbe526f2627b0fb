"""A small cluster of the suite's own: S3, MLflow and nodes of Ray, all of which can be killed.

The nodes share this machine's files. They have addresses of their own on the loopback interface, or
each a network namespace.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psutil

from pipeline.core.layout import Layout
from pipeline.runtime import loopback, services
from pipeline.runtime.service_state import ServiceFolder
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.tasks import in_process
from pipeline.sources.streets.source import Streets

DATASET = "streets-32x48"

_START_LIMIT_S = 120
_RAY_START = ("-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
_OURS = ("AWS_", "MLFLOW_", "RAY_", "TUNE_")

TUNE_ACTOR = "ray::ImplicitFunc"
TRAIN_WORKER = "ray::RayTrainWorker"
RAYLET = "raylet"


def wait_until(is_so: Callable[[], object], what: str, limit_s: float = 180.0) -> None:
    """Wait for something to be so; say what was waited for if it never is."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.25)


@dataclass(frozen=True)
class Node:
    """One `ray start --block`, which ends when one of its processes does."""

    process: "subprocess.Popen[bytes]"

    def processes(self) -> list[psutil.Process]:
        """Return the processes of its session, oldest first; some may outlive its leader."""
        return [one for one in psutil.process_iter() if _session(one.pid) == self.process.pid]

    def find(self, title: str) -> list[psutil.Process]:
        """Return those whose title, or program, is this or begins with it."""
        found = []
        for one in self.processes():
            with suppress(psutil.Error):
                words = one.cmdline() or [""]
                if words[0].startswith(title) or Path(words[0]).name == title:
                    found.append(one)
        return found

    def kill(self, title: str) -> None:
        """Kill the newest of those."""
        self.find(title)[-1].kill()

    def stop(self) -> None:
        """End the node and all that it started."""
        mine = self.processes()
        for one in mine:
            with suppress(psutil.Error):
                one.kill()
        self.process.wait(20)
        psutil.wait_procs(mine, timeout=20)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return 0


@dataclass(frozen=True)
class Place:
    """Where on the network a node is; ``words`` come before its command."""

    ip: str
    words: tuple[str, ...] = ()


@dataclass
class Site:
    """Where the searches of the suite run.

    Attributes:
        folder: of all its files.
        environment: a driver's, and a node's.
        port: of the head.
        place: of the head.
    """

    folder: Path
    environment: dict[str, str]
    port: int
    place: Place = Place("127.0.0.2")
    nodes: list[Node] = field(default_factory=list)
    drivers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _used: int = field(default=2, init=False)

    @property
    def state_dir(self) -> Path:
        """Return the folder of the services and studies."""
        return self.folder / "state"

    @property
    def dataset_uri(self) -> str:
        """Return where the suite's data set is."""
        return f"s3://cgnet/datasets/{DATASET}"

    @property
    def address(self) -> str:
        """Return the cluster's, for RAY_ADDRESS."""
        return f"{self.place.ip}:{self.port}"

    def find(self, title: str) -> list[psutil.Process]:
        """Return the processes of this title on all nodes."""
        return [one for node in self.nodes for one in node.find(title)]

    def kill(self, title: str) -> None:
        """Kill the newest of those."""
        max(self.find(title), key=lambda one: one.pid).kill()

    def reads_s3(self, process: psutil.Process) -> bool:
        """Return whether a process has a connection to S3, as one that trains has."""
        port = urlsplit(self.environment["AWS_ENDPOINT_URL_S3"]).port
        return any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp"))

    @contextmanager
    def head(self) -> Iterator[Node]:
        """Run the head, which trains nothing."""
        words = ["--head", f"--port={self.port}", "--num-cpus=0", f"--temp-dir={self.folder}/ray"]
        ports = loopback.choose_ports({"dashboard": 28265})
        words += [f"--dashboard-port={ports['dashboard']}"]
        with self._node(words, self.place, {}) as node:
            yield node

    @contextmanager
    def worker(self, place: Place | None = None, **environment: str) -> Iterator[Node]:
        """Run a node that trains on one CPU, with something in its environment."""
        self._used += 1
        words = [f"--address={self.address}", "--num-cpus=1"]
        place = place or Place(f"127.0.0.{self._used}")
        with self._node(words, place, environment) as node:
            yield node

    @contextmanager
    def _node(self, words: list[str], place: Place, environment: dict[str, str]) -> Iterator[Node]:
        words += [f"--node-ip-address={place.ip}", "--object-store-memory=100000000"]
        log = self.folder / f"node-{self._used}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*place.words, sys.executable, *_RAY_START, *words],
                env=self.environment | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        node = Node(process)
        try:
            wait_until(lambda: "runtime started" in log.read_text(), f"{log}", _START_LIMIT_S)
            self.nodes.append(node)
            yield node
        finally:
            node.stop()
            self.nodes = [other for other in self.nodes if other is not node]

    def kill_service(self, name: str) -> None:
        """Kill S3 or MLflow with all its processes at once."""
        record = ServiceFolder.in_state_dir(self.state_dir).records()[name]
        for one in record.processes:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        wait_until(lambda: all(map(loopback.is_free, record.ports.values())), "an end of it")

    def revive_services(self) -> None:
        """Do what a supervisor does: start what does not run, where it was."""
        services.start(self.state_dir)

    def tidy(self) -> None:
        """End the searches that a failed test left running, start the services it left dead."""
        for driver in self.drivers:
            driver.kill()
            driver.wait()
        self.drivers.clear()
        self.revive_services()


@contextmanager
def running_site(folder: Path, place: Place = Site.place, **more: str) -> Iterator[Site]:
    """Start services and a head without workers; end all of it afterwards.

    Args:
        folder: for its files; Ray's sockets are there, so that its name must be short.
        place: of the head.
        more: for the environment.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    site = Site(folder, environment, loopback.choose_ports({"ray": 26379})["ray"], place)
    token = site.folder / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    started = services.start(site.state_dir)
    environment |= {
        "AWS_ENDPOINT_URL_S3": started.s3_endpoint,
        "AWS_ACCESS_KEY_ID": started.access_key,
        "AWS_SECRET_ACCESS_KEY": started.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_TRACKING_URI": started.mlflow_uri,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ADDRESS": site.address,
        "XDG_CACHE_HOME": str(folder / "cache"),
        # As infra/ sets them on the head.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "5000",
        "RAY_health_check_failure_threshold": "5",
        **loopback.past_proxies(),
        **more,
    }
    try:
        with patch.dict(os.environ, environment):
            source = Streets(num_train=256, num_val=48, image_size=(32, 48))
            shard_dataset(source, DATASET, site.dataset_uri, Layout(), run=in_process)
        with site.head():
            yield site
    finally:
        services.stop(site.state_dir)
