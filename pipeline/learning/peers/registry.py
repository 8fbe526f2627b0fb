"""The peers by name: each makes its network for a number of classes."""

from collections.abc import Callable, Mapping

from torch import nn

from pipeline.learning.peers.deeplabv3 import DeepLabV3
from pipeline.learning.peers.enet import ENet
from pipeline.learning.peers.espnet import ESPNet
from pipeline.learning.peers.fcn_dilation8 import FCNDilation8
from pipeline.learning.peers.icnet import ICNet

PEERS: Mapping[str, Callable[[int], nn.Module]] = {
    "deeplabv3": DeepLabV3,
    "enet": ENet,
    "espnet": ESPNet,
    "fcn_dilation8": FCNDilation8,
    "icnet": ICNet,
}
