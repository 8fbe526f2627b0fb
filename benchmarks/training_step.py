"""The training step with our PReLU against torch's, on one CPU thread, in turns.

    python -m benchmarks.training_step

Prints the median seconds of a step of M3N21 and the ratio pair by pair, and the loss after the same
steps from the same start: it must not differ.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.architecture import Architecture
from pipeline.learning import cgnet

BATCH, SIZE, PAIRS = 8, (96, 128), 15


class TorchPReLU(nn.PReLU):
    """torch's own, made as ours is."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)


def stepper(prelu: type[nn.Module]) -> Callable[[], float]:
    """Return a function that takes one training step of M3N21 and gives its loss."""
    ours = cgnet.PReLU
    cgnet.PReLU = prelu  # type: ignore[misc, assignment]
    try:
        torch.manual_seed(0)
        model = cgnet.CGNet(Architecture(11)).to(memory_format=torch.channels_last)
    finally:
        cgnet.PReLU = ours  # type: ignore[misc]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    images = torch.randn(BATCH, 3, *SIZE).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 11, (BATCH, *SIZE))

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def timed(step: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds and the loss of one step."""
    started = time.perf_counter()
    loss = step()
    return time.perf_counter() - started, loss


def main() -> None:
    """Time both in turns, after two steps that are not counted."""
    torch.set_num_threads(1)
    ours, theirs = stepper(cgnet.PReLU), stepper(TorchPReLU)
    for step in (ours, theirs, ours, theirs):
        step()
    pairs = [(timed(ours), timed(theirs)) for _ in range(PAIRS)]
    ratios = sorted(a[0] / b[0] for a, b in pairs)
    print(f"M3N21, batch {BATCH}, {SIZE[0]}x{SIZE[1]}, 1 thread, {PAIRS} pairs")
    for name, place in (("ours", 0), ("torch.nn.PReLU", 1)):
        seconds = statistics.median(pair[place][0] for pair in pairs)
        print(f"{name:15} {seconds:.3f} s a step, loss at the end {pairs[-1][place][1]:.5f}")
    print(f"ours / torch    {ratios[0]:.2f} .. {statistics.median(ratios):.2f} .. {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
