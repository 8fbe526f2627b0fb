"""What a trained network costs as it is deployed: without what its training killed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from pipeline.core.config import EpochResult
from pipeline.core.errors import UsageError
from pipeline.core.peer import Network
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.network import build, count_built_macs, count_weights


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, and multiply-accumulates for one picture."""

    parameters: int
    macs: int


def deployed_cost(model: nn.Module, architecture: Network, image_size: tuple[int, int]) -> Cost:
    """Return what a trained network costs once it is compacted.

    A network that compaction does not understand is deployed as it was built.

    Args:
        model: the network, on any device.
        architecture: it was built from.
        image_size: height and width of the picture.
    """
    try:
        shape = compact(model, architecture).network.shape
    except UsageError:
        return _cost(lambda: build(architecture), image_size)
    return _cost(lambda: CompactCGNet(shape), image_size)


def with_deployed_cost(
    result: EpochResult, model: nn.Module, architecture: Network, image_size: tuple[int, int]
) -> EpochResult:
    """Return the last result of a training with what its network costs deployed."""
    cost = deployed_cost(model, architecture, image_size)
    return replace(result, deployed_parameters=cost.parameters, deployed_macs=cost.macs)


def _cost(make: Callable[[], nn.Module], image_size: tuple[int, int]) -> Cost:
    """Count on tensors without content, which takes no time whatever the size of the picture."""
    with torch.device("meta"):
        network = make().eval()
        return Cost(count_weights(network), count_built_macs(network, *image_size))
