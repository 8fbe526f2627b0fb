"""What a training step costs shared by two processes: without Ray and without data to load.

    python -m benchmarks.ranks [--rounds 2] [--steps 12]

CGNet M3N21 at 180x240 with the default recipe's optimizer, one thread a process: the whole batch
in one process, half of it in one, half in each of two that know nothing of each other, and half in
each of two with DDP. Whole over DDP is what two workers gain where cores are to spare.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from benchmarks.report import print_setting, print_table, say
from benchmarks.step import ARCHITECTURE, BATCH_SIZE, IGNORE
from pipeline.core.config import recipe
from pipeline.learning.denormals import flush_denormals
from pipeline.learning.loop import label_weight, weighted_loss
from pipeline.learning.network import build
from pipeline.learning.optimizer import make_optimizer
from pipeline.runtime.environment import ALLOCATOR

_WARM = 3
_SIZE = 180, 240


@dataclass(frozen=True)
class Way:
    """How a batch is shared."""

    label: str
    num_processes: int
    batch_size: int  # of each process
    together: bool = False


WAYS = (
    Way("one, whole batch", 1, BATCH_SIZE),
    Way("one, half", 1, BATCH_SIZE // 2),
    Way("two apart, half each", 2, BATCH_SIZE // 2),
    Way("two with DDP, half each", 2, BATCH_SIZE // 2, together=True),
)


def run(rank: int, way: Way, steps: int, port: int) -> float:
    """Return the mean seconds of a step."""
    flush_denormals()
    torch.set_num_threads(1)
    if way.together:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=way.num_processes)
    torch.manual_seed(0)
    model = build(ARCHITECTURE)
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    optimizer = make_optimizer(model, recipe("default", epochs=3))
    module = model
    if way.together:
        module = DistributedDataParallel(model, forward_sync_buffers=False)
    images = torch.randn(way.batch_size, 3, *_SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(ARCHITECTURE.num_classes, (way.batch_size, *_SIZE)).byte()
    weights = torch.ones(ARCHITECTURE.num_classes)
    for step in range(_WARM + steps):
        if step == _WARM:
            started = time.perf_counter()
        weight = label_weight(labels, weights)
        summing = dist.all_reduce(weight, async_op=True) if way.together else None
        loss = weighted_loss(module(images), labels, weights, IGNORE)
        if summing:
            summing.wait()
        optimizer.zero_grad()
        torch.autograd.backward(loss / weight)
        optimizer.step()
    seconds = (time.perf_counter() - started) / steps
    if way.together:
        dist.destroy_process_group()
    return seconds


def measure(way: Way, steps: int) -> float:
    """Return the seconds of a step, of the slower process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [(rank, way, steps, port) for rank in range(way.num_processes)]
    with multiprocessing.get_context("spawn").Pool(way.num_processes) as processes:
        return max(processes.starmap(run, ranks, chunksize=1))


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    os.environ.update(ALLOCATOR)  # for the processes started from here
    measured: dict[Way, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            measured[way].append(measure(way, options.steps))
            say(f"{way.label}: {measured[way][-1] * 1e3:.0f} ms")
    median = {way: statistics.median(seconds) for way, seconds in measured.items()}
    rows = [
        [way.label, f"{value * 1e3:.0f}", f"{median[WAYS[0]] / value:.2f}"]
        for way, value in median.items()
    ]
    print_setting("CGNet M3N21, 180x240, batch 8 in all, one thread a process.")
    print_table(("processes", "ms", "times one"), rows)


if __name__ == "__main__":
    main()
