"""Samples a second of our loader against webdataset, mosaicml-streaming and litdata.

    python -m benchmarks.loader CAMVID [--repeats 2] [--epochs 3]

CAMVID is the folder of the SegNet tutorial. All read the same PNG bytes at 360x480 from the same
local S3, shuffle, decode and give uint8 batches of 8; the rivals decode with Pillow, as they are
documented, but for two. Each measurement is a process of its own with an empty cache; loaders take
turns, so that a busy minute does not hit one alone, and find memory at hand. The limits decode the
same bytes from memory, with libpng or with our decoder: no storage, no shuffle, no batches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import camvid
from benchmarks.loader_rivals import (
    RIVALS,
    Decode,
    Job,
    cpu_seconds,
    import_ours,
    libpng,
    ours,
    sample_pairs,
)
from benchmarks.memory import use_memory
from benchmarks.report import print_setting, print_table, say
from pipeline.core.config import CachePolicy
from pipeline.learning.dataset import open_dataset
from pipeline.learning.loader import TrainLoader
from pipeline.learning.records import read_records, write_records
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

LIMITS: dict[str, Decode] = {"limit: bare decode, libpng": libpng, "limit: bare decode, ours": ours}
OURS: dict[str, CachePolicy] = {
    "ours, no cache": "none",
    "ours, disk cache": "disk",
    "ours, memory cache": "memory",
}
WORKERS = (1, 2)
_VENV = Path(".bench-venv")
_HERE = Path(__file__).parent
_LIMIT_S = 300


@dataclass(frozen=True)
class Run:
    """One process's epochs: samples a second of each, and processor time in all."""

    rates: tuple[float, ...]
    cpu_ms_per_sample: float


def rivals_python() -> Path:
    """Return the Python that has the rivals, which is set up once."""
    python = _VENV / "bin" / "python"
    if not (_VENV / ".ready").exists():
        say(f"installing the rivals into {_VENV}")
        subprocess.run([sys.executable, "-m", "venv", _VENV], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--requirement", _HERE / "rivals.txt"]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (_VENV / ".ready").touch()
    return python


def rival_versions() -> str:
    """Return what is pinned for the rivals, on one line."""
    lines = (_HERE / "rivals.txt").read_text().splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if not line.startswith("#"))


def ask_rival(action: str, job: Job) -> str:
    """Return what a process of the rivals' Python answers."""
    command = [rivals_python(), _HERE / "loader_rivals.py", action, json.dumps(asdict(job))]
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    done = subprocess.run(
        command,
        env=os.environ
        | {
            "AWS_ENDPOINT_URL": endpoint,
            "S3_ENDPOINT_URL": endpoint,
            "PYTHONPATH": str(_HERE.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode:
        raise ChildProcessError(done.stderr.strip().splitlines()[-1])
    return done.stdout.splitlines()[-1]


def measure_rival(job: Job) -> Run:
    """Measure in the rivals' Python."""
    answer = json.loads(ask_rival("measure", job))
    samples = [epoch["samples"] for epoch in answer["epochs"]]
    rates = tuple(epoch["samples"] / epoch["seconds"] for epoch in answer["epochs"])
    return Run(rates, answer["cpu_s"] / sum(samples) * 1e3)


def measure_ours(job: Job) -> Run:
    """Measure our loader with as many threads as the rivals have processes."""
    torch.set_num_threads(1)
    read_records(write_records(()))  # pyarrow's imports are not timed, as no loader's are
    import_ours()

    def passes() -> Iterator[int]:
        data = open_stored(camvid.URI, cache_dir=Path(job.cache))
        split = data.split("train", OURS[job.rival])
        loader = TrainLoader(split, batch_size=job.batch_size, seed=0, num_threads=job.workers)
        for epoch in range(job.epochs):
            yield sum(len(batch.label_BHW) for batch in loader.epoch(epoch))

    return timed(passes())


def measure_limit(job: Job) -> Run:
    """Measure decoding alone, in as many processes, which are forked with the bytes in memory."""
    import_ours()
    pairs, one, fork = list(sample_pairs(job)), LIMITS[job.rival], get_context("fork")
    shares = [pairs[first :: job.workers] for first in range(job.workers)]

    def passes() -> Iterator[int]:
        for _ in range(job.epochs):
            processes = [fork.Process(target=decode_all, args=(one, share)) for share in shares]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            yield len(pairs)

    return timed(passes())


def decode_all(one: Decode, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Decode image and label of each pair."""
    for image, label in pairs:
        one(image)
        one(label)


def timed(passes: Iterator[int]) -> Run:
    """Iterate over epochs that tell how many samples they had; the first includes the opening."""
    cpu_before, began = cpu_seconds(), time.perf_counter()
    rates, total = [], 0
    for num_samples in passes:
        ended = time.perf_counter()
        rates.append(num_samples / (ended - began))
        total += num_samples
        began = ended
    return Run(tuple(rates), (cpu_seconds() - cpu_before) / total * 1e3)


def measure(job: Job) -> Run:
    """Measure one loader in a new process with an empty cache.

    Raises:
        ChildProcessError: a rival failed; says with what.
    """
    use_memory()
    with tempfile.TemporaryDirectory() as cache:
        job = replace(job, cache=cache)
        if job.rival in RIVALS:
            return measure_rival(job)
        function = measure_limit if job.rival in LIMITS else measure_ours
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(function, job).result()


def row(
    name: str, workers: int, runs: Sequence[Run], limits: Sequence[float], failures: int
) -> list[str]:
    """Return a line of the table: medians over runs, warm ones over all epochs but the first."""
    failed = f", {failures} of {len(runs) + failures} runs failed" if failures else ""
    if not runs:
        return [name + failed, str(workers), "-", "-", *("-" for _ in limits), "-"]
    first = statistics.median(run.rates[0] for run in runs)
    warm = warm_rate(runs)
    cpu = statistics.median(run.cpu_ms_per_sample for run in runs)
    return [
        name + failed,
        str(workers),
        f"{first:.0f}",
        f"{warm:.0f}",
        *(f"{warm / limit:.2f}" for limit in limits),
        f"{cpu:.1f}",
    ]


def warm_rate(runs: Sequence[Run]) -> float:
    """Return the median samples a second of the epochs after the first."""
    return statistics.median(rate for run in runs for rate in run.rates[1:])


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="the folder of the SegNet tutorial")
    parser.add_argument("--repeats", type=int, default=2, help="processes for each line")
    parser.add_argument("--epochs", type=int, default=3, help="in each process")
    options = parser.parse_args()
    uri = camvid.prepare(options.camvid)
    records = open_dataset(open_folder(uri)).records.of_split("train")
    shards = tuple(f"{uri}/{shard}" for shard in records.shard_sizes())
    base = Job(shards=shards, remote="s3://cgnet/benchmarks", epochs=options.epochs)
    say("preparing the rivals' formats")
    ask_rival("prepare", base)
    names = [*LIMITS, *OURS, *RIVALS]
    jobs = [replace(base, rival=name, workers=workers) for workers in WORKERS for name in names]
    runs: dict[Job, list[Run]] = {job: [] for job in jobs}
    for repeat in range(options.repeats):
        for job in jobs:
            try:
                runs[job].append(measure(job))
            except (ChildProcessError, subprocess.TimeoutExpired) as error:
                say(f"{job.rival} failed: {error}")
                continue
            rates = " ".join(f"{rate:.0f}" for rate in runs[job][-1].rates)
            say(f"{repeat + 1}/{options.repeats} {job.rival}, {job.workers}: {rates}")
    print_setting(
        f"CamVid train, {len(records)} samples of 360x480, PNG, {len(shards)} shards on a local "
        f"SeaweedFS, batch 8; medians of {options.repeats} processes with {options.epochs} epochs.",
        f"Rivals: {rival_versions()}.",
    )
    limits = {
        workers: [
            warm_rate(runs[job]) for job in jobs if job.rival in LIMITS and job.workers == workers
        ]
        for workers in WORKERS
    }
    rows = [
        row(
            job.rival, job.workers, runs[job], limits[job.workers], options.repeats - len(runs[job])
        )
        for job in jobs
    ]
    of_limits = ("of libpng's limit", "of ours")
    header = ("loader", "workers", "first epoch/s", "warm/s", *of_limits, "CPU ms a sample")
    print_table(header, rows)


if __name__ == "__main__":
    main()
