"""The suite's cluster, what an undisturbed search gives, and the table that is written at the end."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.search import Curves, Row, Search, curve
from tests.chaos.site import Site, running_site

_HEAD = (
    "fault",
    "what happened",
    "s to training again",
    "finished before",
    "after",
    "lost",
    "repeated",
    "front",
    "cause shown",
)
_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[Row]:
    """Return the rows so far; a test adds its own."""
    return pytestconfig.stash[_ROWS]


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, rows = session.config.getoption("--table"), session.config.stash[_ROWS]
    if path and rows:
        lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells() for row in rows)]
        path.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    # Ray's sockets are in it: its name must be short.
    with tempfile.TemporaryDirectory(prefix="cgnet-", ignore_cleanup_errors=True) as folder:
        with running_site(Path(folder)) as site:
            yield site


@pytest.fixture(scope="session")
def undisturbed(site: Site) -> Curves:
    """Every network of the space as it is trained when nothing goes wrong."""
    search = Search(site, "undisturbed", num_trials=8)
    with site.worker():
        search.start()
        assert search.end() == 0, search.log.read_text()
    return {trial.architecture.id: curve(trial.results) for trial in search.trials()}
