"""Half of M3N21's parameters for its accuracy: a smaller network that decay thins out.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 72x96 --output DATA
    nice -n 19 python -m benchmarks.half_size --dataset DATA --work WORK

Both train equally long by the default recipe but for the decay, and are compacted. Every training
is kept in WORK and goes on where it was. The smaller network was chosen by trainings with seed 0.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from benchmarks.decay import HEADS, cells, trained
from benchmarks.report import print_setting, say
from pipeline.core.architecture import Architecture
from pipeline.core.config import RECIPES, TrainConfig
from pipeline.core.cost import count_parameters
from pipeline.learning.dataset import open_dataset
from pipeline.runtime.storage import open_folder

SEEDS = (1, 2, 3)
RECIPE = replace(RECIPES["default"], epochs=24)


@dataclass(frozen=True)
class Options:
    """What to train on, and where to keep it."""

    dataset: str
    work: Path


def cases(num_classes: int) -> list[tuple[Architecture, TrainConfig]]:
    """Return the networks with their recipes."""
    published = Architecture(num_classes)
    smaller = replace(
        published,
        num_blocks_2=5,
        num_blocks_3=4,
        dilations_3=(2,),
        reduction_2=16,
        reduction_3=32,
    )
    return [(published, RECIPE), (smaller, replace(RECIPE, weight_decay=4e-4))]


def main() -> None:
    """Train what is missing, then print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    dataset = open_dataset(open_folder(options.dataset))
    lines = [f"| network | L2 | built | seeds {HEADS}", "|---" * 8 + "|"]
    for network, recipe in cases(dataset.info.classes.num_classes):
        built = count_parameters(network)
        alike = []
        for seed in SEEDS:
            folder = options.work / f"{network.id}-{recipe.weight_decay:g}-{seed}"
            alike.append(trained(dataset, network, recipe, seed, folder))
            say(f"{network.label} seed {seed}: {alike[-1]}")
        lines.append(
            f"| {network.label} | {recipe.weight_decay:g} | {built:,} | {len(SEEDS)} "
            f"{cells(alike, built)}"
        )
    print_setting(f"{RECIPE.epochs} epochs, seeds {SEEDS[0]} to {SEEDS[-1]}.")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
