"""The suite's cluster, what undisturbed trainings give, and the table written at the end."""

import os
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.errors import one_line
from pipeline.learning.context import LocalContext
from pipeline.learning.loop import train
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder
from tests.chaos.search import BATCH_SIZE, EPOCHS, Curves, Row, curve
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
_TEXT = """# A search while something breaks

```console
make chaos
```

On {load}. Each search has a few trials of three epochs on 256 generated scenes of 32x48;
the fault strikes in the middle of an epoch, after the first trial. The seconds are those from the
fault to the beginning of the next epoch that was trained whole. Every curve was equal to that of
the same training in one process without a cluster; for two ranks there was none to compare with.
Lost are trials that were said to be complete and then were not, repeated those of a network that
had one. The front is the search's own against one recomputed from the study.

{table}"""
_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[Row]:
    """Return the rows so far; a test adds its own."""
    return pytestconfig.stash[_ROWS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a fault that could not be made here, or that was not survived."""
    report = yield
    if not report.passed and call.excinfo:
        what = "not made here" if report.skipped else "FAILED"
        row = Row(item.name, f"{what}: {one_line(call.excinfo.value)}")
        item.config.stash[_ROWS].append(row)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, rows = session.config.getoption("--table"), session.config.stash[_ROWS]
    if path and rows:
        lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells() for row in rows)]
        table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        load = f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}"
        path.write_text(_TEXT.format(load=load, table=table))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    # Ray's sockets are in it: its name must be short.
    with (
        tempfile.TemporaryDirectory(prefix="cgnet-", ignore_cleanup_errors=True) as folder,
        running_site(Path(folder)) as site,
    ):
        yield site


@pytest.fixture(autouse=True)
def _tidy(site: Site) -> Iterator[None]:
    yield
    site.tidy()


@pytest.fixture(scope="session")
def undisturbed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Return what each training gives in this process, with no cluster to go wrong."""
    torch.set_num_threads(1)

    @cache
    def trained(architecture: Architecture) -> tuple[float, ...]:
        folder = open_folder(str(tmp_path_factory.mktemp("undisturbed")))
        with patch.dict(os.environ, site.environment):
            dataset = open_stored(site.dataset_uri)
            data = (dataset, dataset.split("train"), dataset.split("val"))
            config = DataConfig(site.dataset_uri, dataset.info.fingerprint)
            spec = TrialSpec(architecture, config, TrainConfig(EPOCHS, BATCH_SIZE), seed=0)
            return curve(tuple(train(spec, LocalContext(folder, data))))

    return lambda trial: trained(trial.architecture)
