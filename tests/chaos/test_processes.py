"""kill -9 of each kind of process that a search consists of."""

import time
from contextlib import ExitStack

import psutil

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import RAYLET, TRAIN_WORKER, TUNE_ACTOR, Site, wait_until

_WORKER_LIMIT_S = 30
_NODE_LIMIT_S = 60
_TAKEN_AWAY = " waits: its machine is about to be taken away"


def test_the_processes_of_a_trial_are_killed(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    search = Search(site, "processes", num_trials=4)

    def strike_the_driver() -> None:
        search.process.kill()
        search.process.wait()
        search.start()

    with site.worker():
        search.start()
        worker = search.disturb("training process", lambda: site.kill(TRAIN_WORKER))
        actor = search.disturb("trial actor of Tune", lambda: site.kill(TUNE_ACTOR))
        driver = search.disturb("driver", strike_the_driver)
        assert search.end() == 0
    happened = {
        "its group went on after the last epoch": worker,
        "training did not notice, another followed it": actor,
        "the same command went on": driver,
    }
    table += [search.check(row, what, undisturbed) for what, row in happened.items()]
    assert worker.seconds < _WORKER_LIMIT_S
    assert actor.seconds < _WORKER_LIMIT_S


def test_a_rank_is_killed(site: Site, table: list[Row]) -> None:
    search = Search(site, "rank", options=("--workers-per-trial", "2"))
    with site.worker(), site.worker():
        search.start()
        row = search.disturb("DDP rank of two nodes", lambda: site.kill(TRAIN_WORKER))
        assert search.end() == 0
    table.append(search.check(row, "both ranks went on after the last epoch"))
    assert row.seconds < _WORKER_LIMIT_S


def test_a_node_dies_and_another_is_taken_away_with_notice(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    search = Search(site, "nodes", num_trials=4)
    with ExitStack() as nodes:

        def strike() -> None:
            site.nodes[-1].kill(RAYLET)
            site.nodes[-1].process.wait(60)
            nodes.enter_context(site.worker())  # as a supervisor does

        def give_notice() -> float:
            site.nodes[-1].process.terminate()
            wait_until(lambda: _TAKEN_AWAY in search.log.read_text(), "a word of the training")
            left = time.time()
            nodes.enter_context(site.worker())
            return left

        nodes.enter_context(site.worker())
        search.start()
        killed = search.disturb("raylet of the node that trains", strike)
        noticed = search.disturb("SIGTERM to the node that trains", give_notice)
        assert search.end() == 0
    table.append(search.check(killed, "a new node took the trial", undisturbed))
    table.append(search.check(noticed, "kept within the epoch, a new node took it", undisturbed))
    assert killed.seconds < _NODE_LIMIT_S
    assert noticed.seconds < _NODE_LIMIT_S


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
