"""What L2 leaves of dead weights costs no time, whichever thread runs the network.

Not every CPU is slow with denormals, so it is looked whether any thread still makes them. Which
threads do is settled once in a process: each case has one of its own.
"""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.learning.cgnet import CGNet
from pipeline.learning.compact.measure import latencies, random_pictures
from pipeline.learning.denormals import clear_denormals, flush_denormals
from pipeline.learning.official import official_weights
from pipeline.learning.weights import load_weights
from tests.unit.learning.test_official_weights import SMALL, official_state

COUNT = """
import torch
torch.set_num_threads(2)
def made():
    return int(((torch.full((1 << 20,), 1e-30) * 1e-10).view(torch.int32) != 0).sum())
"""
# Who runs a network, and how it comes to it.
CASES = {
    "an official file": """
from pathlib import Path
from pipeline.runtime.networks import open_network
open_network(path, Path("none"), official_preprocessing=True)
print(made())
""",
    "a server's thread that was there before": """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
server = ThreadPoolExecutor(1)
server.submit(int).result()
from pipeline.learning.official import official_weights
from pipeline.learning.segmenter import Segmenter
with open(path, "rb") as file:
    segmenter = Segmenter.from_bytes(official_weights(file.read(), quirk=True))
server.submit(segmenter.label, np.zeros((1, 9, 9, 3), np.uint8)).result()
print(server.submit(made).result())
""",
    "a thread that nobody told": "print(made())",
}


def dead_official_file() -> bytes:
    """The authors' M3N21, whose weights are large enough to be copied by several threads."""
    state = official_state(Architecture(11))
    for name, value in state.items():
        if name.endswith("conv.weight"):
            value[::2] *= 1e-40
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.mark.parametrize("case", CASES)
def test_no_thread_that_runs_a_network_makes_denormals(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(dead_official_file())
    script = f"path = {str(path)!r}\n{COUNT}{CASES[case]}"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120
    )

    kept = int(done.stdout)
    assert kept == 0 if case != "a thread that nobody told" else kept > 0


def test_a_file_with_denormals_is_a_network_without() -> None:
    """Also for those who run it elsewhere, as ONNX."""
    state = official_state(replace(SMALL, num_classes=11))
    state["level1_1.conv.weight"][::2] *= 1e-40
    state["level3_0.bn.running_var"][0] = 1e-39
    file = io.BytesIO()
    torch.save(state, file)

    model, _ = load_weights(official_weights(file.getvalue(), quirk=True))

    values = torch.cat([value.flatten() for value in model.state_dict().values()])
    assert not ((values != 0) & (values.abs() < 1e-30)).any()


def test_a_network_with_denormals_is_as_fast_as_with_zeros() -> None:
    flush_denormals()
    torch.manual_seed(0)
    dead, zero = CGNet(SMALL).eval(), CGNet(SMALL).eval()
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter[::2] = torch.tensor(1, dtype=torch.int32).view(torch.float32)
    assert any((p.view(torch.int32) == 1).any() for p in dead.parameters())
    zero.load_state_dict(dead.state_dict())
    clear_denormals(zero)
    (picture,) = random_pictures(((96, 128),), seed=0)

    with_denormals, with_zeros = latencies((dead, zero), picture, runs=30)

    assert with_denormals < 1.5 * with_zeros


def test_numpy_does_not_warn_of_what_was_asked_for() -> None:
    program = (
        "from pipeline.learning.denormals import flush_denormals\n"
        "flush_denormals()\n"
        "import numpy as np\n"
        "print(np.finfo(np.float32).smallest_subnormal, np.finfo(np.float64).smallest_subnormal)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
