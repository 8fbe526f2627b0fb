"""The networks beside CGNet: what can be said of one without building it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError

# As they are typed, and as they are called. pipeline.learning.peers builds each of them.
PEER_LABELS: Mapping[str, str] = {
    "deeplabv3": "DeepLabv3",
    "enet": "ENet",
    "espnet": "ESPNet",
    "fcn_dilation8": "FCN dilation8",
    "icnet": "ICNet",
}


@dataclass(frozen=True)
class Peer:
    """A published network that CGNet is measured against, at the one size it has here."""

    name: str
    num_classes: int = 19

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            UsageError: there is no such peer, says which there are; or no class.
        """
        if self.name not in PEER_LABELS:
            raise UsageError(f"there is no peer {self.name!r}: use one of {', '.join(PEER_LABELS)}")
        if self.num_classes < 1:
            raise UsageError(f"peer: num_classes must be at least 1, got {self.num_classes}")

    @property
    def id(self) -> str:
        """Return a name that differs whenever the network does."""
        return f"{self.name}-{self.num_classes}"

    @property
    def label(self) -> str:
        """Return a name for people."""
        return PEER_LABELS[self.name]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {"peer": self.name, "num_classes": self.num_classes}


Network = Architecture | Peer


def network_from_dict(fields: Mapping[str, Any]) -> Network:
    """Read what the ``to_dict`` of an architecture or a peer wrote.

    Raises:
        UsageError: it names what cannot be built.
    """
    if "peer" in fields:
        return Peer(fields["peer"], fields["num_classes"])
    return Architecture.from_dict(fields)
