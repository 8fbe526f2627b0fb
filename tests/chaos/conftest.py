"""The suite's cluster, what undisturbed trainings give, and the table written at the end."""

import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import open_dataset
from pipeline.learning.loop import train
from pipeline.runtime.s3_shards import open_shards
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
    with (
        tempfile.TemporaryDirectory(prefix="cgnet-", ignore_cleanup_errors=True) as folder,
        running_site(Path(folder)) as site,
    ):
        yield site


@pytest.fixture(scope="session")
def undisturbed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Return what each training gives in this process, with no cluster to go wrong."""
    torch.set_num_threads(1)
    with patch.dict(os.environ, site.environment):
        dataset = open_dataset(open_folder(site.dataset_uri), shards=open_shards(site.dataset_uri))
        data = (dataset, dataset.split("train"), dataset.split("val"))

    @cache
    def trained(architecture: Architecture) -> tuple[float, ...]:
        context = LocalContext(open_folder(str(tmp_path_factory.mktemp("undisturbed"))), data)
        config = DataConfig(site.dataset_uri, dataset.info.fingerprint)
        spec = TrialSpec(architecture, config, TrainConfig(EPOCHS, BATCH_SIZE), seed=0)
        return curve(tuple(train(spec, context)))

    return lambda trial: trained(trial.architecture)
