"""From a trained CGNet to an equivalent smaller network."""

from dataclasses import dataclass, fields

import torch
from torch import nn

from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError
from pipeline.core.peer import Network
from pipeline.learning.compact.fold import fold_batch_norm
from pipeline.learning.compact.keep import keep
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.report import Removed, removed
from pipeline.learning.compact.rewrite import rewrite
from pipeline.learning.compact.trace import trace_network
from pipeline.learning.compact.weights import Weights

_UNDERSTOOD = {
    "num_classes",
    "num_blocks_2",
    "num_blocks_3",
    "widths",
    "dilations_2",
    "dilations_3",
    "reduction_2",
    "reduction_3",
}


@dataclass(frozen=True)
class Compaction:
    """The smaller network, in evaluation mode, and what was taken out of the larger."""

    network: CompactCGNet
    removed: tuple[Removed, ...]


@torch.no_grad()
def compact(model: nn.Module, architecture: Network, *, fold_bn: bool = False) -> Compaction:
    """Return a network with the logits of ``model`` in evaluation and only the weights they need.

    Args:
        model: a trained CGNet.
        architecture: it was built from.
        fold_bn: make batch norm part of the convolutions, which saves time, and parameters of
            norms; further training is then without it.

    Raises:
        UsageError: the network is compacted already, or a variant that this does not understand.
    """
    if isinstance(model, CompactCGNet):
        raise UsageError("the network is compacted already: give the original for other options")
    architecture = _understood(architecture)
    weights = Weights.of(model.state_dict())
    trace = trace_network(weights, (architecture.block_dilations_2, architecture.block_dilations_3))
    kept = keep(trace)
    network = rewrite(trace, kept)
    if fold_bn:
        network = fold_batch_norm(network)
    return Compaction(network.float().eval(), removed(trace, kept))


def _understood(architecture: Network) -> Architecture:
    if not isinstance(architecture, Architecture):
        raise UsageError(
            f"compaction knows CGNet alone, got {architecture.label}: keep it as it is"
        )
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if field.name not in _UNDERSTOOD and value != field.default:
            raise UsageError(
                f"compaction knows {field.name}={field.default} alone, this network has {value}: "
                "keep it as it is"
            )
    return architecture
