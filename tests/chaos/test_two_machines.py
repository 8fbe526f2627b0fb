"""Two machines that share nothing but a cable and, unlike real ones, their files."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import cable
from tests.chaos.search import Row, Search
from tests.chaos.site import DATASET, RAYLET, Node, Site, running_site, wait_until
from tests.fault_proxy import FaultPlan, FaultProxy

_SMALL = ("--num-blocks-2", "1", "--num-blocks-3", "1", "--widths", "8", "16", "32")
_COMMAND_LIMIT_S = 240
_CUT_OFF_S = 30  # long enough for Ray to take a node for dead


@dataclass(frozen=True)
class Machines:
    """The site, with a node of one CPU at either end of the cable.

    ``s3_there`` is how the far end sees S3, which listens on this machine alone.
    """

    site: Site
    s3_there: FaultProxy
    nodes: ExitStack
    far: list[Node]

    def start_far(self) -> None:
        """Start the far node, as a supervisor there does after every end of it."""
        place = self.site.worker(cable.THERE, AWS_ENDPOINT_URL_S3=self.s3_there.endpoint)
        self.far.append(self.nodes.enter_context(place))

    def run(self, *words: str) -> str:
        """Return what a command prints that has to go well."""
        command = [sys.executable, "-m", *words, "--state-dir", str(self.site.state_dir)]
        done = subprocess.run(
            command,
            env=self.site.environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def asked_from_there(self, method: str) -> int:
        """Return how many such requests S3 had from the far end."""
        return sum(one.method == method for one in self.s3_there.requests)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with (
        cable.plugged(),
        tempfile.TemporaryDirectory(prefix="cgnet-", ignore_cleanup_errors=True) as folder,
        running_site(Path(folder), cable.HERE, GLOO_SOCKET_IFNAME=cable.INTERFACE) as site,
        FaultProxy(site.environment["AWS_ENDPOINT_URL_S3"], FaultPlan(), cable.HERE.ip) as s3_there,
        ExitStack() as nodes,
    ):
        nodes.enter_context(site.worker(cable.ALSO_HERE))
        machines = Machines(site, s3_there, nodes, [])
        machines.start_far()
        yield machines


def test_both_machines_write_shards(machines: Machines) -> None:
    words = ("--dataset", "streets", "--image-size", "32x48", "--shard-size", "16")
    machines.run("pipeline.preprocess", *words, "--output", "s3://cgnet/datasets/both")

    assert machines.asked_from_there("PUT") > 0
    assert "all well" in machines.run("pipeline.preprocess", "--verify", "s3://cgnet/datasets/both")


def test_ranks_on_both_machines_train_one_network(machines: Machines) -> None:
    before = machines.asked_from_there("GET")
    printed = machines.run("pipeline.train", "--dataset", DATASET, "--workers", "2", *_SMALL)

    assert "epoch 2/2" in printed
    assert machines.asked_from_there("GET") > before


def test_a_search_outlives_the_cable_and_the_driver(machines: Machines, table: list[Row]) -> None:
    search = Search(machines.site, "cable", num_trials=5)

    def pull() -> None:
        cable.pull()
        time.sleep(_CUT_OFF_S)
        cable.plug()
        # A node that hears that it was taken for dead ends, and does not come back by itself.
        wait_until(lambda: not machines.far[-1].find(RAYLET), "the end of the far node")
        machines.start_far()

    def kill_the_driver() -> None:
        search.process.kill()
        search.process.wait()
        search.start()

    search.start()
    rows = [
        search.disturb("cable between two machines, then a new node", pull),
        search.disturb("then the driver", kill_the_driver),
    ]
    assert search.end() == 0
    table += [search.check(row, "all trials came to their end") for row in rows]
