"""`python -m pipeline.train`: one architecture, trained by the workers a search would use."""

import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.cli import check_seed, run_command
from pipeline.core.architecture import SWITCHES, Architecture
from pipeline.core.config import CachePolicy, CorruptPolicy, TrialSpec
from pipeline.core.errors import UsageError
from pipeline.core.peer import Network, Peer
from pipeline.recipe_options import RecipeOptions


@dataclass(frozen=True)
class TrainOptions:
    """Train one CGNet variant, or a peer; the defaults are the paper's M3N21."""

    dataset: str = "streets"
    """Name of a data set in the store, or the URI of one; streets is made if it is not there."""
    num_blocks_2: int = 3
    """Blocks of stage 2 (M), the downsampling one included."""
    num_blocks_3: int = 21
    """Blocks of stage 3 (N), the downsampling one included."""
    widths: tuple[int, int, int] = (32, 64, 128)
    """Channels of the three stages."""
    dilations_2: tuple[int, ...] = (2,)
    """Dilations of stage 2, repeated over its blocks."""
    dilations_3: tuple[int, ...] = (4,)
    """Dilations of stage 3, repeated over its blocks."""
    reduction_2: int = 8
    """Reduction of the global context in stage 2."""
    reduction_3: int = 16
    """Reduction of the global context in stage 3."""
    surround: Literal["full", "last", "none"] = "full"
    """Blocks that see surrounding context: all, the last one, none."""
    global_context: bool = True
    """Whether blocks weigh their channels by the whole picture."""
    input_injection: bool = True
    """Whether the picture is fed again to stages 2 and 3."""
    activation: Literal["prelu", "relu"] = "prelu"
    """After every batch norm."""
    residual: Literal["global", "local", "none"] = "global"
    """Where a block's input is added: behind its global context, before it, nowhere."""
    pointwise: bool = False
    """Whether a 1x1 convolution follows each channel-wise one."""
    peer: str = ""
    """A network to train in place of CGNet: deeplabv3, enet, espnet, fcn_dilation8 or icnet."""
    epochs: int = 2
    """Passes over the train split."""
    batch_size: int = 8
    """Pictures in a step, all workers together."""
    how: Annotated[RecipeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=RecipeOptions)
    workers: int = 1
    """DDP workers that share the training."""
    seed: int = 0
    """Of initial weights, order and augmentation."""
    cache: CachePolicy = "auto"
    """What workers keep of the data: nothing, shards on disk, or pictures in memory; auto takes
    memory where a split fits, else disk for what is on S3."""
    on_corrupt: CorruptPolicy = "fail"
    """Whether a sample that cannot be read ends the training or is left out and told."""
    store: str = "s3://cgnet"
    """Where data sets and trainings are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def train(options: TrainOptions) -> int:
    """Train; print each epoch and where the weights are. The same command goes on after a kill."""
    training = options.how.training(
        epochs=options.epochs,
        batch_size=options.batch_size,
        num_workers=options.workers,
    )
    # A wrong word is told before anything heavy is imported or started.
    check_seed(options.seed)
    chosen = _network(options)
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.learning.network import network_size
    from pipeline.learning.weights import WEIGHTS_FILE
    from pipeline.runtime import cluster, console, datasets
    from pipeline.runtime.groups import train_one
    from pipeline.runtime.storage import absolute_uri

    console.log_to_file(options.state_dir / "logs" / "train.log")
    datasets.reach(options.store, options.state_dir)
    data, info = datasets.open_or_make(options.dataset, options.store, options.state_dir)
    datasets.check_batches(info, training)
    data = replace(data, cache=options.cache, on_corrupt=options.on_corrupt)
    network = replace(chosen, num_classes=info.classes.num_classes)
    spec = TrialSpec(network, data, training, options.seed)
    uri = absolute_uri(f"{options.store.rstrip('/')}/trainings/{info.name}-{spec.id}")
    console.say(f"{network.label}: {network_size(network):,} parameters")
    cluster.connect()
    for result in train_one(spec, uri):
        sys.stdout.write(
            f"epoch {result.epoch}/{result.epochs}  loss {result.train_loss:.4f}  "
            f"mIoU {result.mean_iou * 100:.2f} %  {result.train_s:.1f} s + {result.val_s:.1f} s\n"
        )
        sys.stdout.flush()
    for name, iou in zip(info.classes.names, result.class_iou, strict=True):
        sys.stdout.write(f"  {name:<12} {'-' if math.isnan(iou) else f'{iou * 100:5.1f}'}\n")
    if result.deployed_parameters and result.deployed_parameters < network_size(network):
        sys.stdout.write(f"deployed: {result.deployed_parameters:,} parameters are not dead\n")
    if result.corrupt:
        console.say(console.left_out(result.corrupt))
    sys.stdout.write(f"weights: {uri}/{WEIGHTS_FILE}\n")
    return 0


_CHOICES = (
    "num_blocks_2",
    "num_blocks_3",
    "widths",
    "dilations_2",
    "dilations_3",
    "reduction_2",
    "reduction_3",
    *SWITCHES,
)


def _network(options: TrainOptions) -> Network:
    """Return what is to be trained.

    Raises:
        UsageError: it cannot be built, or a peer is to be built as only CGNet can.
    """
    choices = {name: getattr(options, name) for name in _CHOICES}
    if not options.peer:
        return Architecture(**choices)
    for name, value in choices.items():
        if value != getattr(TrainOptions, name):
            raise UsageError(f"--{name.replace('_', '-')} is of CGNet: leave it out with --peer")
    return Peer(options.peer)


def main() -> int:
    """Run the command."""
    return run_command("train", TrainOptions, train)


if __name__ == "__main__":
    raise SystemExit(main())
