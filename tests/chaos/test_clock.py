"""The clock of driver and worker is set back by an hour in the middle of a search."""

from pathlib import Path

import pytest

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import Site

_STEP_S = -3600


def test_the_clock_is_set_back(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("faketime is not installed on this machine")
    clock = site.folder / "clock"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    search = Search(site, "clock", options=("--cache", "none"), environment=faked)
    with site.worker(**faked):
        search.start()
        row = search.disturb(
            "clock set back by an hour", lambda: clock.write_text(f"{_STEP_S}\n"), step_s=_STEP_S
        )
        assert search.end() == 0
    table.append(search.check(row, "training did not notice", undisturbed))
