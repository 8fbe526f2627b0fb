"""Programs that read the files of infra/."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"


def run(program: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program of this environment or this machine; without it the test is skipped."""
    beside_python = Path(sys.executable).with_name(program)
    found = str(beside_python) if beside_python.exists() else shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this machine")
    return subprocess.run(
        [found, *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
