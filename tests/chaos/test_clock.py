"""The clock of driver and worker is ten minutes slow for a while, in the middle of a search."""

import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import Site, wait_until

_STEP_S = -600  # S3 refuses requests that are a quarter of an hour old


def test_the_clock_is_set_back_and_forth(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine to make clock.c")
    library, step = site.folder / "clock.so", site.folder / "step"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    _write(step, 0)
    stepped = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(step)}
    search = Search(site, "clock", options=("--cache", "none"), environment=stepped)

    def num_epochs() -> int:
        return sum(len(trial.results) for trial in search.trials())

    def strike() -> None:
        before = num_epochs()
        _write(step, _STEP_S)
        wait_until(lambda: num_epochs() >= before + 2, "training by the wrong clock")
        _write(step, 0)

    with site.worker(**stepped):
        search.start()
        row = search.disturb("clock ten minutes slow, two epochs later right again", strike)
        assert search.end() == 0
    row = replace(row, seconds=math.nan)  # training went on all the time
    table.append(search.check(row, "training did not notice", undisturbed))


def _write(path: Path, seconds: int) -> None:
    """Write in place: the file is mapped into the processes that it concerns."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(seconds.to_bytes(8, "little", signed=True))
