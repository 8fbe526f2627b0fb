"""Whether time grows with the number of images, and memory does not.

    python -m benchmarks.preprocess_scale [COUNT ...]

Preprocesses 1,000, 5,000 and 20,000 generated street scenes at 64x96 into a folder, each count in
a cluster of its own. Memory is the proportional set size: a page that processes share counts once.
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass

import psutil

from benchmarks.camvid import STATE_DIR
from benchmarks.report import print_setting, print_table, say
from pipeline.runtime import environment
from pipeline.sources.streets.source import Streets

COUNTS = (1_000, 5_000, 20_000)
WORKERS = 2
IMAGE_SIZE = (64, 96)
_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Memory:
    """Peaks in MB of this process, of Ray's workers, and of all, Ray's own processes included."""

    driver: float = 0.0
    workers: float = 0.0
    everything: float = 0.0


class MemoryWatch(threading.Thread):
    """Samples the memory of this process and its descendants until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = Memory()
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._ended.wait(_INTERVAL_S):
            now, peak = memory_now(), self.peak
            self.peak = Memory(
                max(now.driver, peak.driver),
                max(now.workers, peak.workers),
                max(now.everything, peak.everything),
            )

    def stop(self) -> Memory:
        """Return the peaks."""
        self._ended.set()
        self.join()
        return self.peak


def memory_now() -> Memory:
    """Return the memory in MB now."""
    this = psutil.Process()
    driver = this.memory_full_info().pss
    workers = others = 0
    for process in this.children(recursive=True):
        try:
            pss, title = process.memory_full_info().pss, " ".join(process.cmdline())
        except psutil.Error:
            continue  # it has ended
        if title.startswith("ray::") and "IDLE" not in title:
            workers += pss
        else:
            others += pss
    return Memory(*(size / 1e6 for size in (driver, workers, driver + workers + others)))


def main() -> None:
    """Preprocess each count and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS, metavar="COUNT")
    options = parser.parse_args()
    environment.configure(STATE_DIR)
    from benchmarks.preprocessing import (
        cpu_seconds,
        local_cluster,
        preprocess,
    )  # Ray, which takes settings now

    rows: list[list[str]] = []
    first: tuple[float, float] | None = None
    for count in options.counts:
        source = Streets(num_train=count, num_val=0, image_size=IMAGE_SIZE)
        with tempfile.TemporaryDirectory() as folder, local_cluster(WORKERS):
            preprocess(Streets(num_train=128, num_val=0), f"{folder}/first")  # starts the workers
            watch = MemoryWatch()
            watch.start()
            began, cpu_before = time.perf_counter(), cpu_seconds()
            preprocess(source, f"{folder}/data")
            seconds, cpu_s = time.perf_counter() - began, cpu_seconds() - cpu_before
            peak = watch.stop()
        times = (seconds / count * 1e3, cpu_s / count * 1e3)
        first = first or times
        costs = [f"{now:.2f} ({now / then:.2f})" for now, then in zip(times, first, strict=True)]
        sizes = [f"{size:.0f}" for size in (peak.driver, peak.workers, peak.everything)]
        rows.append([str(count), f"{seconds:.1f}", *costs, *sizes])
        say(", ".join(rows[-1]))
    print_setting(f"Street scenes at 64x96 into a folder, {WORKERS} workers, each there before.")
    header = (
        "images",
        "s",
        "ms an image (of the first)",
        "CPU ms an image",
        "driver MB",
        "workers MB",
        "all MB",
    )
    print_table(header, rows)


if __name__ == "__main__":
    main()
