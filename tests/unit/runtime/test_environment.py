"""Settings of a process that has started already."""

import os
import subprocess
import sys
from pathlib import Path

_FAULTS = """
import resource, sys
from pathlib import Path
from pipeline.runtime import environment
environment.configure(Path(sys.argv[1]))
import torch
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_command_keeps_the_memory_of_tensors(tmp_path: Path) -> None:
    """Else the 8192 pages of each of these are faulted in again."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, str(tmp_path)],
        env={name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(done.stdout) < 100
