"""The clock of driver and worker is set back by an hour in the middle of a search."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import Site

_STEP_S = -3600


def test_the_clock_is_set_back(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine to make clock.c")
    library, step = site.folder / "clock.so", site.folder / "step"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    _write(step, 0)
    stepped = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(step)}
    search = Search(site, "clock", options=("--cache", "none"), environment=stepped)
    with site.worker(**stepped):
        search.start()
        row = search.disturb("clock set back by an hour", lambda: _write(step, _STEP_S), _STEP_S)
        assert search.end() == 0
    table.append(search.check(row, "training did not notice", undisturbed))


def _write(path: Path, seconds: int) -> None:
    """Write in place: the file is mapped into the processes that it concerns."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(seconds.to_bytes(8, "little", signed=True))
