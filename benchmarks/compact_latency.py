"""What compaction gains in time: one 360x480 picture, one thread, before and after.

    python -m benchmarks.compact_latency WEIGHTS [--rounds 9] [--runs 25]

A round is a process of its own, in which the network as trained, compacted, and compacted with
batch norm folded take turns; it gives the quotients of their medians of CPU time. Rounds differ by
more than runs within one do: what else the machine does, and where memory happens to lie.
"""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.report import print_setting, print_table, say
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.measure import latencies, random_pictures
from pipeline.learning.segmenter import Segmenter

SIZE = (360, 480)


@dataclass(frozen=True)
class Options:
    """Which network to compact, and how often to look."""

    weights: tyro.conf.Positional[Path]
    rounds: int = 9
    runs: int = 25


def timed(weights: bytes, runs: int) -> tuple[float, ...]:
    """Return the seconds as trained, compacted, and folded too."""
    torch.set_num_threads(1)
    original = Segmenter.from_bytes(weights)
    smaller = (
        compact(original.model, original.deployment.architecture, fold_bn=fold).network
        for fold in (False, True)
    )
    (picture,) = random_pictures((SIZE,), seed=0)
    picture = picture.to(memory_format=torch.channels_last)  # as a Segmenter has it
    return latencies((original.model, *smaller), picture, runs, time.process_time)


def main() -> None:
    """Print the rounds, then their medians."""
    options = tyro.cli(Options)
    weights = options.weights.read_bytes()
    rows, gains = [], []
    for number in range(options.rounds):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            seconds = process.submit(timed, weights, options.runs).result()
        gains.append([seconds[0] / each for each in seconds[1:]])
        rows.append([str(number + 1), *(f"{1e3 * s:.1f}" for s in seconds)])
        rows[-1] += [f"{gain:.2f}x" for gain in gains[-1]]
        say(" ".join(rows[-1]))
    middle = [f"{statistics.median(column):.2f}x" for column in zip(*gains, strict=True)]
    print_setting(f"{options.runs} runs in turns a round; milliseconds of CPU time.")
    head = ("round", "as trained", "compacted", "folded too", "gain", "gain folded")
    print_table(head, [*rows, ["median", "", "", "", *middle]])


if __name__ == "__main__":
    main()
