"""A network without what its training killed: made, checked against the original, and timed."""

from dataclasses import dataclass

import torch

from pipeline.core.errors import DataError, UsageError
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.measure import Agreement, compare, latencies, random_pictures
from pipeline.learning.compact.report import Removed
from pipeline.learning.network import count_built_macs
from pipeline.learning.normalisation import normalise
from pipeline.learning.weights import pack_weights
from pipeline.runtime.networks import Network, network_of

_SIZE = (360, 480)
_WORTH_IT = 0.9  # of the multiply-accumulates; see docs/results/2026-11-26-decay.md
_CHECKED = (_SIZE, (97, 131), (33, 47), (64, 64))
_RUNS = 20


@dataclass(frozen=True)
class Compacted:
    """A network that labels as another does.

    Attributes:
        network: the smaller one.
        removed: what it has not, kind by kind.
        agreement: of its logits with the other's, on pictures of several sizes.
    """

    network: Network
    removed: tuple[Removed, ...]
    agreement: Agreement


def compacted(network: Network, *, fold_bn: bool = False) -> Compacted:
    """Return a network without what its training killed.

    Args:
        network: the original.
        fold_bn: make batch norm part of the convolutions.

    Raises:
        UsageError: it is no network that compaction understands, or compacted already.
        DataError: the logits do not agree.
    """
    model, deployment = network.segmenter.model, network.segmenter.deployment
    done = compact(model, deployment.architecture, fold_bn=fold_bn)
    pictures = [
        normalise(picture, deployment.mean, deployment.std)
        for picture in random_pictures(_CHECKED, seed=0)
    ]
    agreement = compare(model, done.network, pictures)
    if not agreement.is_close:
        raise DataError(
            f"the compacted logits are off by {agreement.difference:.1e}, more than "
            f"{agreement.allowed:.1e}: nothing is kept; please report this"
        )
    weights = pack_weights(done.network, deployment, network.provenance)
    return Compacted(network_of(weights, network.reference), done.removed, agreement)


def lighter(network: Network, budget: int) -> Network | None:
    """Return a network without what its training killed; None if it is better as it is.

    That is where it fits the budget and little is dead: the reading and writing of single channels
    then costs more than it saves.

    Raises:
        DataError: the logits do not agree.
    """
    try:
        found = compacted(network).network
    except UsageError:  # compaction does not know it, so that there is nothing it could take out
        return None
    before, after = (count_built_macs(one.segmenter.model, *_SIZE) for one in (network, found))
    is_worth_it = after <= _WORTH_IT * before or network.num_params > budget
    return found if is_worth_it else None


def times(networks: tuple[Network, ...], height: int, width: int) -> tuple[float, ...]:
    """Return the median seconds of each network for one picture on this CPU, taken in turns."""
    (picture,) = random_pictures(((height, width),), seed=0)
    as_labelled = picture.to(memory_format=torch.channels_last)
    return latencies(tuple(one.segmenter.model for one in networks), as_labelled, _RUNS)
