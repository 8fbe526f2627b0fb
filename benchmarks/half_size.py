"""Half of M3N21's parameters for its accuracy: a narrower network, compacted.

    python -m pipeline.preprocess --dataset camvid --source CamVid --image-size 72x96 --output DATA
    nice -n 19 python -m benchmarks.half_size --dataset DATA --work WORK

Both train equally long by the sparse recipe and are compacted. Every training is kept in WORK and
goes on where it was. The smaller network is of the space cgnet_wide, and was chosen by trainings
with seed 0, which are none of these.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from benchmarks.decay import HEADS, cells, trained
from benchmarks.report import print_setting, say
from pipeline.core.architecture import Architecture
from pipeline.core.config import RECIPES
from pipeline.core.cost import count_parameters
from pipeline.runtime.s3_shards import open_stored

SEEDS = (1, 2, 3)
RECIPE = replace(RECIPES["sparse"], epochs=24)


@dataclass(frozen=True)
class Options:
    """What to train on, and where to keep it."""

    dataset: str
    work: Path


def networks(num_classes: int) -> tuple[Architecture, ...]:
    """Return M3N21 and the smaller one."""
    published = Architecture(num_classes)
    return published, replace(
        published,
        num_blocks_2=6,
        num_blocks_3=3,
        widths=(24, 64, 112),
        dilations_2=(1,),
        dilations_3=(2,),
        reduction_3=8,
    )


def main() -> None:
    """Train what is missing, then print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    dataset = open_stored(options.dataset)
    lines = [f"| network | built | seeds {HEADS}", "|---" * 7 + "|"]
    for network in networks(dataset.info.classes.num_classes):
        built = count_parameters(network)
        alike = []
        for seed in SEEDS:
            folder = options.work / f"{network.id}-{seed}"
            alike.append(trained(dataset, network, RECIPE, seed, folder))
            say(f"{network.label} seed {seed}: {alike[-1]}")
        lines.append(f"| {network.label} | {built:,} | {len(SEEDS)} {cells(alike, built)}")
    print_setting(f"{RECIPE.epochs} epochs, seeds {SEEDS[0]} to {SEEDS[-1]}.")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
