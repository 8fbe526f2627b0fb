"""Networks as modules: a CGNet from its architecture, a peer from its name."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.peer import Network
from pipeline.learning.cgnet import CGNet
from pipeline.learning.peers.registry import PEERS


def build(network: Network) -> nn.Module:
    """Return a new network that maps (B, 3, H, W) pictures of any size to (B, K, H, W) logits."""
    if isinstance(network, Architecture):
        return CGNet(network)
    return PEERS[network.name](network.num_classes)


def network_size(network: Network) -> int:
    """Return the number of trainable parameters, of a peer by building it without its memory."""
    if isinstance(network, Architecture):
        return count_parameters(network)
    with torch.device("meta"):
        return count_weights(build(network))


def count_weights(model: nn.Module) -> int:
    """Return how many trainable parameters a built network has."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def count_built_macs(model: nn.Module, height: int, width: int) -> int:
    """Return the multiply-accumulates for one picture of a built network, by running it once."""
    known = {torch.ops.aten.mkldnn_convolution: _convolution_flops}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        model(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops()) // 2


def _convolution_flops(
    inputs: list[int], weight: list[int], *_: object, out_shape: list[int]
) -> int:
    flops: int = conv_flop_count(inputs, weight, out_shape)
    return flops
