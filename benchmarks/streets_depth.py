"""Whether depth pays on the generated street scenes: 3 blocks (M1N2) against 24 (M3N21).

    python -m benchmarks.streets_depth [TRAIN_IMAGES] [EPOCHS] [SEEDS]

Trains both side by side, one process and one thread each, and prints val mIoU by seed.
"""

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.layout import Layout
from pipeline.learning.context import LocalContext
from pipeline.learning.loop import train
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import in_process
from pipeline.sources.streets.source import Streets

NETWORKS = ((1, 2), (3, 21))


def mean_iou(uri: str, blocks: tuple[int, int], epochs: int, seed: int) -> float:
    """Return the val mIoU after training one network."""
    torch.set_num_threads(1)
    data = open_stored(uri)
    architecture = Architecture(data.info.classes.num_classes, *blocks)
    spec = TrialSpec(architecture, DataConfig(uri, "gen"), TrainConfig(epochs=epochs), seed)
    with tempfile.TemporaryDirectory() as folder:
        context = LocalContext(open_folder(folder), (data, data.split("train"), data.split("val")))
        *_, last = train(spec, context)
    return last.mean_iou


def main() -> None:
    """Train and print."""
    defaults = ("1536", "8", "1")
    given = sys.argv[1:]
    num_train, epochs, seeds = (int(word) for word in (*given, *defaults[len(given) :]))
    jobs = [(blocks, seed) for seed in range(seeds) for blocks in NETWORKS]
    with tempfile.TemporaryDirectory() as uri, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        shard_dataset(Streets(num_train=num_train), "streets", uri, Layout(), run=in_process)
        scores = pool.map(mean_iou, *zip(*((uri, b, epochs, s) for b, s in jobs), strict=True))
        print(f"streets {Streets().image_size}, {num_train} images, {epochs} epochs, val mIoU")
        for ((m, n), seed), score in zip(jobs, scores, strict=True):
            print(f"M{m}N{n} seed {seed}: {score * 100:.2f} %")


if __name__ == "__main__":
    main()
