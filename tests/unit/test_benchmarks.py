"""Every benchmark still finds what it measures."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


def test_benchmarks_can_be_loaded() -> None:
    """In a process of its own, since they set the environment for the servers they start."""
    loaded = "import " + ", ".join(f"benchmarks.{name}" for name in BENCHMARKS)
    done = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
