"""The training step: ours against the same network written plainly, and against the machine.

    python -m benchmarks.step [--sizes 180x240 360x360] [--steps 12]

The plain one is what a straightforward port gives: contiguous NCHW, nn.PReLU, nn.BatchNorm2d,
nn.Conv2d, Adam's defaults, nothing set in the allocator. Each round of a size runs both in fresh
processes of two threads, in turns; a step is the median over its process, the table gives the
median over rounds. Both start from the same weights and see the same random pictures: the last
column is how far apart their losses are after all steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.report import print_setting, print_table, say
from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_macs
from pipeline.learning import depthwise, norm_act, operators
from pipeline.learning.loop import label_weight, weighted_loss
from pipeline.learning.network import build
from pipeline.runtime.environment import ALLOCATOR

ARCHITECTURE = Architecture(num_classes=11)
BATCH_SIZE = 8
IGNORE = 255
_WARM = 2


def be_plain() -> None:
    """Have the network take the ways of torch's own layers, in this process from now on."""

    def never(*_: object) -> bool:  # a Mock would keep all tensors that it was asked about
        return False

    mock.patch.object(operators, "on_cpu", never).start()
    mock.patch.object(depthwise, "on_cpu", never).start()
    mock.patch.object(norm_act, "_is_fused", never).start()


def plain_step(images: Tensor, labels: Tensor) -> Callable[[], float]:
    """Return the step of a plain loop."""
    be_plain()
    model = build(ARCHITECTURE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4)
    weights = torch.ones(ARCHITECTURE.num_classes)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels.long(), weight=weights, ignore_index=IGNORE)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(images: Tensor, labels: Tensor, bf16: bool = False) -> Callable[[], float]:
    """Return the step as the training loop takes it, but with the rival's optimizer."""
    model = build(ARCHITECTURE)
    model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)  # as the loader gives them
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4, fused=True)
    weights = torch.ones(ARCHITECTURE.num_classes)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        loss = weighted_loss(logits.float(), labels, weights, IGNORE)
        weight = label_weight(labels, weights)
        torch.autograd.backward(loss / weight)
        optimizer.step()
        return loss.item() / weight.item()

    return step


STEPS: Mapping[str, Callable[[Tensor, Tensor], Callable[[], float]]] = {
    "plain": plain_step,
    "ours": our_step,
    "ours, bf16": lambda images, labels: our_step(images, labels, bf16=True),
}


def measure(name: str, height: int, width: int, steps: int, threads: int) -> dict[str, Any]:
    """Return the median seconds of a step, of CPU too, and the last loss."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    images = torch.randn(BATCH_SIZE, 3, height, width)
    labels = torch.randint(ARCHITECTURE.num_classes, (BATCH_SIZE, height, width)).byte()
    step = STEPS[name](images, labels)
    wall, cpu = [], []
    for _ in range(_WARM + steps):
        started = time.perf_counter(), time.process_time()
        loss = step()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    medians = statistics.median(wall[_WARM:]), statistics.median(cpu[_WARM:])
    return {"step_s": medians[0], "cpu_s": medians[1], "loss": loss}


def ceilings() -> dict[str, Any]:
    """Return what two threads reach at best: multiply-adds/s of a product, bytes/s of a copy."""
    torch.set_num_threads(2)
    a = torch.randn(2048, 2048)
    source = torch.randn(64 * 2**20)
    target = torch.empty_like(source)

    def fastest(work: Callable[[], object]) -> float:
        def timed() -> Iterator[float]:
            for _ in range(7):
                started = time.perf_counter()
                work()
                yield time.perf_counter() - started

        return min(timed())

    return {
        "macs_per_s": 2048**3 / fastest(lambda: a @ a),
        "bytes_per_s": 2 * source.nbytes / fastest(lambda: target.copy_(source)),
    }


def in_process(*arguments: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what this module prints for the arguments in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step", *arguments]
    output = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["180x240", "360x360"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one == "ceilings":
        print(json.dumps(ceilings()))
        return
    if options.one:
        height, width = map(int, options.sizes[0].split("x"))
        print(json.dumps(measure(options.one, height, width, options.steps, options.threads)))
        return
    limits = in_process("--one", "ceilings", environment={})
    rows = []
    for size in options.sizes:
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in STEPS}
        for _ in range(options.rounds):
            for name in STEPS:
                result = in_process(
                    *("--one", name, "--sizes", size, "--steps", str(options.steps)),
                    *("--threads", str(options.threads)),
                    environment={} if name == "plain" else ALLOCATOR,
                )
                results[name].append(result)
                say(f"{size} {name}: {result}")
        height, width = map(int, size.split("x"))
        step_macs = 3 * BATCH_SIZE * count_macs(ARCHITECTURE, height, width)
        median = {
            name: statistics.median(r["step_s"] for r in done) for name, done in results.items()
        }
        for name, seconds in median.items():
            apart = abs(results[name][0]["loss"] - results["plain"][0]["loss"])
            rows.append(
                [
                    size,
                    name,
                    f"{seconds * 1e3:.0f}",
                    f"{statistics.median(r['cpu_s'] for r in results[name]) * 1e3:.0f}",
                    f"{median['plain'] / seconds:.2f}",
                    f"{step_macs / seconds / limits['macs_per_s']:.2f}",
                    f"{apart:.1e}",
                ]
            )
    print_setting(
        f"CGNet M3N21, batch {BATCH_SIZE}, {options.threads} threads. A matrix product of 2048 "
        f"reaches {limits['macs_per_s'] / 1e9:.0f} G multiply-adds/s, a copy "
        f"{limits['bytes_per_s'] / 1e9:.1f} GB/s (read and written)."
    )
    print_table(
        ("pictures", "step", "ms", "CPU ms", "times plain", "of the product", "loss apart"), rows
    )


if __name__ == "__main__":
    main()
