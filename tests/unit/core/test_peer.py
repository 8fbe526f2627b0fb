"""A peer as a value: its JSON, its id, and what it refuses."""

import json

import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError
from pipeline.core.peer import PEER_LABELS, Network, Peer, network_from_dict


@pytest.mark.parametrize(
    "network",
    [
        Architecture(num_classes=11),
        Architecture(num_classes=11, residual="none"),
        *(Peer(name, num_classes=11) for name in PEER_LABELS),
    ],
    ids=lambda network: network.label,
)
def test_json_gives_a_network_of_either_kind_back(network: Network) -> None:
    assert network_from_dict(json.loads(json.dumps(network.to_dict()))) == network


def test_each_peer_has_an_id_of_its_own_for_each_number_of_classes() -> None:
    peers = [Peer(name, k) for name in PEER_LABELS for k in (11, 19)]

    assert len({peer.id for peer in peers}) == len(peers) == 10


def test_an_unknown_peer_is_refused_with_the_known_ones_listed() -> None:
    with pytest.raises(UsageError, match=r"no peer 'unet': use one of deeplabv3, enet, espnet,"):
        Peer("unet")


def test_a_peer_without_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="num_classes must be at least 1, got 0"):
        Peer("enet", num_classes=0)
