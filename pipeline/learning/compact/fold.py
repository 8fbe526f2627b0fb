"""Batch norm made part of the convolution before it, for deployment."""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.weights import Affine, Weights


def fold_batch_norm(network: CompactCGNet) -> CompactCGNet:
    """Return the network with biases instead of norms, in the same precision.

    The three norms behind a concatenation stay: there is no convolution before them.
    """
    weights = Weights.of(network.state_dict())
    state = dict(weights.state)
    for name in weights.state:
        if name.endswith("entry.norm.weight") or name.startswith("stem") and "norm.weight" in name:
            part = name.removesuffix(".norm.weight")
            _fold(state, part, [f"{part}.conv"], f"{part}.border")
        elif name.endswith("context.joint.norm.weight"):
            part = name.removesuffix(".norm.weight")
            context = part.removesuffix(".joint")
            extractors = [f"{context}.{extractor}" for extractor in ("local", "surround")]
            _fold(state, part, [e for e in extractors if f"{e}.weight" in state])
    folded = CompactCGNet(replace(network.shape, folded=True))
    folded.load_state_dict(state)
    dtype = network.classifier.weight.dtype
    return folded.to(dtype).train(network.training)
