"""Which share of a training step waits for data: our loader against webdataset's pipeline.

    python -m benchmarks.step_wait CAMVID [--steps 10] [--epochs 2]

CAMVID is the folder of the SegNet tutorial. The real training loop trains CGNet M3N21 on CamVid at
360x480 from a local S3, batch 8, on the CPU, with the same augmentation for all. An epoch is
``--steps`` long; the first one has everything to read.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import webdataset

from benchmarks import camvid
from benchmarks.loader_rivals import rgb
from benchmarks.report import print_setting, print_table, say
from pipeline.core.architecture import Architecture
from pipeline.core.config import CachePolicy, DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.learning import loop
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset, Split
from pipeline.learning.decoding import Sample
from pipeline.learning.loader import Batch, TrainLoader, View
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

BATCH_SIZE = 8
OURS: tuple[CachePolicy, ...] = ("memory", "disk", "none")
SEED = 0


class WebdatasetLoader:
    """Stands where the training loop has its loader: webdataset and torch's loader, one worker."""

    def __init__(self, split: Split, *, batch_size: int, view: View, **_: Any) -> None:
        shards = [f"{camvid.URI}/{shard}" for shard in split.records.shard_sizes()]

        def drawn(pair: tuple[bytes, bytes]) -> Sample:
            sample = Sample(*(rgb(content).numpy() for content in pair))
            return view(sample, np.random.default_rng())

        dataset = (
            webdataset.WebDataset(shards, shardshuffle=100)
            .shuffle(1000, initial=100)
            .to_tuple("image.png", "label.png")
            .map(drawn)
            .batched(batch_size, collation_fn=stacked)
        )
        self._loader = webdataset.WebLoader(
            dataset, batch_size=None, num_workers=1, persistent_workers=True
        )

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, which is none of those asked for but has as many."""
        yield from self._loader


def stacked(samples: Sequence[Sample]) -> Batch:
    """Return samples as a batch."""
    images_BHWC, labels_BHW = (
        torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True)
    )
    return Batch(images_BHWC.permute(0, 3, 1, 2), labels_BHW)


def first_samples(data: Dataset, split: str, count: int) -> Dataset:
    """Return a data set of a split's first samples."""
    return replace(data, records=data.records.of_split(split)[:count])


def train(cache: CachePolicy, loader: type, steps: int, epochs: int) -> list[EpochResult]:
    """Return the epochs of the real training loop with one loader."""
    spec = TrialSpec(
        Architecture(num_classes=11, num_blocks_2=3, num_blocks_3=21),
        DataConfig(camvid.URI, ""),
        TrainConfig(epochs=epochs, batch_size=BATCH_SIZE),
        SEED,
    )
    with tempfile.TemporaryDirectory() as folder, patch.object(loop, "TrainLoader", loader):
        data = open_stored(camvid.URI, cache_dir=Path(folder))
        training = first_samples(data, "train", steps * BATCH_SIZE).split("train", cache)
        validation = first_samples(data, "val", BATCH_SIZE).split("val")
        context = LocalContext(open_folder(f"{folder}/run"), (data, training, validation))
        return list(loop.train(spec, context))


def main() -> None:
    """Train with each loader and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="the folder of the SegNet tutorial")
    parser.add_argument("--steps", type=int, default=10, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    camvid.prepare(options.camvid)
    subjects: list[tuple[str, CachePolicy, type]] = [
        *((f"ours, --cache {cache}", cache, TrainLoader) for cache in OURS),
        ("webdataset, torch's loader with 1 worker", "none", WebdatasetLoader),
    ]
    rows = []
    for name, cache, loader in subjects:
        for result in train(cache, loader, options.steps, options.epochs):
            share = result.data_wait_s / result.train_s
            rows.append(
                [
                    name,
                    str(result.epoch),
                    f"{result.train_s / options.steps:.2f}",
                    f"{result.data_wait_s / options.steps * 1e3:.1f}",
                    f"{share:.2%}",
                ]
            )
            say(", ".join(rows[-1]))
    print_setting(
        f"CGNet M3N21, CamVid at 360x480 from a local SeaweedFS, batch {BATCH_SIZE}, CPU, "
        f"{options.steps} steps an epoch."
    )
    print_table(("loader", "epoch", "step s", "of it waiting ms", "share"), rows)


if __name__ == "__main__":
    main()
