"""Images a second of preprocessing against bare read, decode and encode of the same images.

    python -m benchmarks.preprocess_rate CAMVID [--repeats 2]

CAMVID is the folder of the SegNet tutorial. The limit is plain processes that read the same files
and encode the same PNGs, and do nothing else: no storage, hashes, statistics or shards. Ours is
what ``python -m pipeline.preprocess`` does, to a local S3, from the moment its cluster is up. The
two take turns.
"""

import argparse
import io
import statistics
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from benchmarks import camvid
from benchmarks.report import print_setting, print_table, say
from pipeline.sources.registry import open_source
from pipeline.sources.source import Source

WORKERS = (1, 2)


def encode_all(source: Source, keys: Sequence[tuple[str, str]]) -> None:
    """Read samples and encode them as PNG."""
    for split, key in keys:
        sample = source.read(split, key)
        for picture in (sample.image_HWC, sample.label_HW):
            Image.fromarray(picture).save(io.BytesIO(), format="PNG")


def limit_rate(source: Source, workers: int) -> float:
    """Return the images a second of plain processes."""
    keys = [(split, key) for split, of_split in source.keys().items() for key in of_split]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        warm = [keys[:2]] * workers
        list(pool.map(encode_all, [source] * workers, warm))  # imports are not counted
        shares = [keys[first::workers] for first in range(workers)]
        began = time.perf_counter()
        list(pool.map(encode_all, [source] * workers, shares))
        return len(keys) / (time.perf_counter() - began)


def our_rates(source: Source, workers: int) -> tuple[float, float]:
    """Return images a second in a new cluster, and once more when its workers are there."""
    total = sum(map(len, source.keys().values()))
    from benchmarks.preprocessing import local_cluster, preprocess  # Ray, when all is set for it

    rates = []
    with local_cluster(workers):
        for _ in range(2):
            began = time.perf_counter()
            preprocess(source, f"s3://cgnet/benchmarks/{uuid.uuid4().hex}")
            rates.append(total / (time.perf_counter() - began))
    return rates[0], rates[1]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="the folder of the SegNet tutorial")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    camvid.prepare(options.camvid)
    source = open_source("camvid", options.camvid)
    limits: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    ours: dict[int, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
    for _ in range(options.repeats):
        for workers in WORKERS:
            limits[workers].append(limit_rate(source, workers))
            ours[workers].append(our_rates(source, workers))
            say(f"{workers}: limit {limits[workers][-1]:.1f}, ours {ours[workers][-1]}")
    rows, by_workers = [], {}
    for workers in WORKERS:
        limit = statistics.median(limits[workers])
        cold, warm = (statistics.median(of_runs) for of_runs in zip(*ours[workers], strict=True))
        by_workers[workers] = (limit, cold, warm)
        rates = [("limit: read, decode, encode", limit), ("ours, new workers", cold)]
        for position, (name, rate) in enumerate([*rates, ("ours, workers there", warm)]):
            gain = rate / by_workers[WORKERS[0]][position]
            rows.append([name, str(workers), f"{rate:.1f}", f"{rate / limit:.2f}", f"{gain:.2f}"])
    print_setting(f"CamVid, 360x480, to a local SeaweedFS; medians of {options.repeats} runs.")
    print_table(("", "workers", "images/s", "of the limit", "of one worker"), rows)


if __name__ == "__main__":
    main()
