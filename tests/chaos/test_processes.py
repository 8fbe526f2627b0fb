"""kill -9 of each kind of process that a search consists of."""

import pytest

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import TRAIN_WORKER, TUNE_ACTOR, Site


def test_a_worker_that_trains_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "worker")
    with site.worker() as node:
        search.start()
        row = search.disturb("training worker", lambda: node.find(TRAIN_WORKER)[0].kill())
        assert search.end() == 0
    table.append(search.check(row, "the group restarts from the last epoch", undisturbed))
    assert row.seconds < 30
