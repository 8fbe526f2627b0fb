"""How much mixing pictures gives, by the length of the training.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 90x120 --output D
    python -m benchmarks.mixing --dataset D --epochs 10 20 30 49 [--mixing 0 0.5] [--seeds 0]

M3N21 by the default recipe, one thread, at low priority; mean IoU on val after the last epoch.
"""

import argparse
import os
from dataclasses import replace
from itertools import product
from tempfile import TemporaryDirectory

import torch

from benchmarks.report import print_setting, print_table, say
from benchmarks.step import ARCHITECTURE
from pipeline.core.config import RECIPES, DataConfig, TrialSpec
from pipeline.learning.context import LocalContext
from pipeline.learning.denormals import flush_denormals
from pipeline.learning.loop import train
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder


def score(dataset: str, epochs: int, mixing: float, seed: int) -> float:
    """Return the mean IoU on val after a training, in percent."""
    data = open_stored(dataset)
    parts = (data, data.split("train"), data.split("val"))
    training = replace(RECIPES["default"], epochs=epochs, mixing=mixing)
    with TemporaryDirectory() as folder:
        spec = TrialSpec(ARCHITECTURE, DataConfig("", ""), training, seed)
        *_, last = train(spec, LocalContext(open_folder(folder), parts))
    return 100 * last.mean_iou


def main() -> None:
    """Train each and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--mixing", type=float, nargs="+", default=(0.0, 0.5))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    options = parser.parse_args()
    flush_denormals()
    torch.set_num_threads(1)
    os.nice(10)
    rows = []
    for epochs, mixing in product(options.epochs, options.mixing):
        found = []
        for seed in options.seeds:
            found.append(score(options.dataset, epochs, mixing, seed))
            say(f"{epochs} epochs, mixing {mixing:g}, seed {seed}: {found[-1]:.2f}")
        rows.append([str(epochs), f"{mixing:g}", ", ".join(f"{one:.2f}" for one in found)])
    print_setting(f"CGNet M3N21 on {options.dataset}, seeds {options.seeds}.")
    print_table(("epochs", "mixing", "val mIoU %, seed by seed"), rows)


if __name__ == "__main__":
    main()
