"""How long a network takes for one picture on this machine's CPU, and how much memory."""

import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from pipeline.learning.segmenter import Segmenter

_WARM_UP, _RUNS = 5, 30


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over ``runs`` warm calls: the median and the middle 80 %."""

    median_s: float
    fast_s: float  # 10th percentile
    slow_s: float  # 90th percentile
    runs: int


@dataclass(frozen=True)
class Footprint:
    """One picture at a time through a network, in a process that does nothing else.

    Attributes:
        processor: name of the CPU.
        threads: that torch used.
        height: of the picture.
        width: of the picture.
        timing: from uint8 picture to class ids.
        loaded_bytes: resident memory with the network loaded, before the first picture.
        peak_bytes: most resident memory ever, the interpreter and torch included.
    """

    processor: str
    threads: int
    height: int
    width: int
    timing: Timing
    loaded_bytes: int
    peak_bytes: int


def footprint(weights: bytes, height: int, width: int) -> Footprint:
    """Measure a weights file in a fresh process, whose memory nothing else has touched.

    The number of threads is torch's own choice: ``OMP_NUM_THREADS`` in the environment sets it.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(_measure, weights, height, width).result()


def timed(run: Callable[[], object], clock: Callable[[], float]) -> Timing:
    """Return how long a call takes when it is warm."""
    for _ in range(_WARM_UP):
        run()
    seconds = []
    for _ in range(_RUNS):
        started = clock()
        run()
        seconds.append(clock() - started)
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return Timing(statistics.median(seconds), deciles[0], deciles[-1], _RUNS)


def any_pictures(
    count: int, height: int, width: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return pictures of noise (B, H, W, 3): no network's time depends on what it sees."""
    size = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def processor_name() -> str:
    """Return the CPU as its maker calls it, or its instruction set where that is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _measure(weights: bytes, height: int, width: int) -> Footprint:
    segmenter = Segmenter.from_bytes(weights)
    picture = any_pictures(1, height, width)
    loaded_bytes = psutil.Process().memory_info().rss
    timing = timed(lambda: segmenter.label(picture), time.perf_counter)
    return Footprint(
        processor=processor_name(),
        threads=torch.get_num_threads(),
        height=height,
        width=width,
        timing=timing,
        loaded_bytes=loaded_bytes,
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int:
    if sys.platform == "linux":
        # getrusage would count what the parent held when it made this process.
        status = Path("/proc/self/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
