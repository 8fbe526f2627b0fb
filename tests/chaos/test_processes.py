"""kill -9 of each kind of process that a search consists of."""

import time
from contextlib import ExitStack

import psutil

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import RAYLET, TRAIN_WORKER, TUNE_ACTOR, Site, wait_until

_WORKER_LIMIT_S = 30
_NODE_LIMIT_S = 60


def test_the_driver_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "driver")

    def strike() -> None:
        search.process.kill()
        search.process.wait()
        search.start()

    with site.worker():
        search.start()
        row = search.disturb("driver", strike)
        assert search.end() == 0
    table.append(search.check(row, "the same command went on", undisturbed))


def test_a_process_that_trains_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "worker")
    with site.worker():
        search.start()
        row = search.disturb("training process", lambda: site.kill(TRAIN_WORKER))
        assert search.end() == 0
    table.append(search.check(row, "its group went on after the last epoch", undisturbed))
    assert row.seconds < _WORKER_LIMIT_S


def test_the_actor_of_a_trial_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "actor")
    with site.worker():
        search.start()
        row = search.disturb("trial actor of Tune", lambda: site.kill(TUNE_ACTOR))
        assert search.end() == 0
    table.append(search.check(row, "training did not notice, another followed it", undisturbed))
    assert row.seconds < _WORKER_LIMIT_S


def test_a_rank_is_killed(site: Site, table: list[Row]) -> None:
    search = Search(site, "rank", options=("--workers-per-trial", "2"))
    with site.worker(), site.worker():
        search.start()
        row = search.disturb("DDP rank of two nodes", lambda: site.kill(TRAIN_WORKER))
        assert search.end() == 0
    table.append(search.check(row, "both ranks went on after the last epoch"))
    assert row.seconds < _WORKER_LIMIT_S


def test_the_raylet_of_a_node_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "raylet")
    with ExitStack() as nodes:
        node = nodes.enter_context(site.worker())

        def strike() -> None:
            node.kill(RAYLET)
            node.process.wait(60)
            nodes.enter_context(site.worker())  # as a supervisor does

        search.start()
        row = search.disturb("raylet of the node that trains", strike)
        assert search.end() == 0
    table.append(search.check(row, "a new node took the trial", undisturbed))
    assert row.seconds < _NODE_LIMIT_S


def test_a_node_is_taken_away_with_notice(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    search = Search(site, "notice")
    with ExitStack() as nodes:
        node = nodes.enter_context(site.worker())

        def strike() -> float:
            node.process.terminate()
            wait_until(lambda: " waits: " in search.log.read_text(), "a word of the training")
            left = time.time()
            nodes.enter_context(site.worker())
            return left

        search.start()
        row = search.disturb("SIGTERM to the node that trains", strike)
        assert search.end() == 0
    (told,) = [line for line in search.log.read_text().splitlines() if " waits: " in line]
    assert "its machine is about to be taken away" in told
    table.append(search.check(row, "kept within the epoch, a new node took it", undisturbed))
    assert row.seconds < _NODE_LIMIT_S


def test_the_raylet_of_the_driver_is_killed(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    """Ray ends the driver with it, so the command is typed again."""
    own_ray = {"RAY_ADDRESS": "", "RAY_OVERRIDE_RESOURCES": '{"CPU": 1}'}
    search = Search(site, "driver-raylet", environment=own_ray)

    def strike() -> float:
        for one in psutil.Process(search.process.pid).children():
            if one.name() == RAYLET:
                one.kill()
        assert search.end() == 1
        search.start()
        return time.time()  # until Ray noticed, the process that trains went on

    search.start()
    row = search.disturb("raylet of the driver, on one machine", strike)
    assert search.end() == 0
    assert "Ray's node on this machine has died" in search.log.read_text()
    table.append(
        search.check(row, "the search ended in one line, the same command went on", undisturbed)
    )
    assert row.seconds < _NODE_LIMIT_S
