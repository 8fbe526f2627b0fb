"""Samples a second of our loader when every answer of S3 takes a while, with each kind of cache.

    python -m benchmarks.distance CAMVID [--milliseconds 0 30] [--epochs 2]

CAMVID is the folder of the SegNet tutorial, read at 360x480 from a local S3; but for 0 ms behind a
proxy that lets each request wait. It is Python, takes turns on the same cores and bounds the rate.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks import camvid
from benchmarks.report import print_setting, print_table, say
from pipeline.core.config import CachePolicy
from pipeline.learning.loader import TrainLoader
from pipeline.runtime.s3_shards import open_stored
from tests.fault_proxy import FaultPlan, FaultProxy

CACHES: tuple[CachePolicy, ...] = ("none", "disk", "memory")
THREADS = (1, 2)
_BATCH_SIZE = 8


def rates(cache: CachePolicy, threads: int, epochs: int) -> Iterator[float]:
    """Yield samples a second of each epoch, with nothing cached before the first."""
    with tempfile.TemporaryDirectory() as folder:
        split = open_stored(camvid.URI, cache_dir=Path(folder)).split("train", cache)
        loader = TrainLoader(split, batch_size=_BATCH_SIZE, seed=0, num_threads=threads)
        for epoch in range(epochs):
            began = time.perf_counter()
            samples = sum(len(batch.label_BHW) for batch in loader.epoch(epoch))
            yield samples / (time.perf_counter() - began)


@contextmanager
def s3_away(milliseconds: float) -> Iterator[None]:
    """Let each answer of the S3 in use take so long."""
    if not milliseconds:
        yield
        return
    near = os.environ["AWS_ENDPOINT_URL_S3"]
    with (
        FaultProxy(near, FaultPlan(latency_s=milliseconds / 1e3)) as proxy,
        patch.dict(os.environ, {"AWS_ENDPOINT_URL_S3": proxy.endpoint}),
    ):
        yield


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="the folder of the SegNet tutorial")
    parser.add_argument("--milliseconds", type=float, nargs="+", default=(0, 30))
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    camvid.prepare(options.camvid)
    rows = []
    for ms, cache, threads in product(options.milliseconds, CACHES, THREADS):
        with s3_away(ms):
            found = " ".join(f"{rate:.0f}" for rate in rates(cache, threads, options.epochs))
        rows.append([f"{ms:g}", cache, str(threads), found])
        say(", ".join(rows[-1]))
    print_setting(f"CamVid train at 360x480, batch {_BATCH_SIZE}, local SeaweedFS behind a proxy.")
    print_table(("ms an answer", "cache", "threads", "samples/s of each epoch"), rows)


if __name__ == "__main__":
    main()
