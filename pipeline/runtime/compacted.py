"""A network without what its training killed: made, checked against the original, and timed."""

from dataclasses import dataclass

import torch

from pipeline.core.errors import DataError, UsageError
from pipeline.learning.augment import normalise
from pipeline.learning.compact.compaction import compact
from pipeline.learning.compact.measure import Agreement, compare, latencies, random_pictures
from pipeline.learning.compact.report import Removed
from pipeline.learning.weights import pack_weights
from pipeline.runtime.networks import Network, network_of

_CHECKED = ((360, 480), (97, 131), (33, 47), (64, 64))
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


def smaller(network: Network) -> Network | None:
    """Return a network without what its training killed; None if that is nothing.

    Raises:
        DataError: the logits do not agree.
    """
    try:
        found = compacted(network).network
    except UsageError:  # compaction does not know it, so that there is nothing it could take out
        return None
    return found if found.num_params < network.num_params else None


def times(networks: tuple[Network, ...], height: int, width: int) -> tuple[float, ...]:
    """Return the median seconds of each network for one picture on this CPU, taken in turns."""
    (picture,) = random_pictures(((height, width),), seed=0)
    as_labelled = picture.to(memory_format=torch.channels_last)
    return latencies(tuple(one.segmenter.model for one in networks), as_labelled, _RUNS)
