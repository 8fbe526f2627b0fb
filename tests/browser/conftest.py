"""Pages in Debian's Chromium: never one that playwright would fetch."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell, dataset, shell

__all__ = ["dataset", "shell"]  # fixtures

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="folder for pictures of the pages")
    parser.addoption("--state-dir", type=Path, help="look at its latest study; else a small one")


@dataclass(frozen=True)
class FinishedStudy:
    """A study that was searched and reported, and where people look at it."""

    name: str
    page: Path
    mlflow: str  # address of its run


@pytest.fixture(scope="session")
def finished(
    pytestconfig: pytest.Config, request: pytest.FixtureRequest, chromium: object
) -> FinishedStudy:
    if state_dir := pytestconfig.getoption("--state-dir"):
        told = Shell(state_dir, dict(os.environ)).check("report")
    else:
        told = _searched(request.getfixturevalue("shell"), request.getfixturevalue("dataset"))
    page = Path(re.findall(r"page: +(\S+)", told)[0])
    (address,) = re.findall(r'href="(http[^"]+)">the study in MLflow', page.read_text())
    return FinishedStudy(page.parent.name, page, address)


def _searched(shell: Shell, dataset: str) -> str:
    words = ("--budget", "25k", "--space", "smoke", "--dataset", dataset, "--batch-size", "32")
    shell.check("search", *words, "--name", "seen", "--trials", "4")
    return shell.check("report", "seen")


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'"
    )
    if _CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # As root, in a container, Chromium has no sandbox; it opens our own pages only.
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
