"""What each channel of a trained CGNet is, whatever the picture: computed, or a constant.

From the picture to the logits. A channel that is no constant everywhere, borders included, is
*live*; zero padding makes an even input uneven, so a constant that meets it with a weight is live
behind it.

C channels, O outputs, I inputs, S stream channels, U hidden units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.learning.compact.weights import THRESHOLD, Affine, Weights, links

_IMAGE = 3


@dataclass(frozen=True)
class Signal:
    """Channels between two layers.

    A channel is ``value_C``, plus something computed if it is live. In a stage's stream a live
    channel can have such a part that is known, elsewhere the value of live channels is 0.
    """

    live_C: Tensor
    value_C: Tensor

    @classmethod
    def of(cls, live_C: Tensor, constant_C: Tensor) -> "Signal":
        """Return channels that are live, or else these constants."""
        nothing_C = live_C | (constant_C.abs() <= THRESHOLD)
        return cls(live_C, constant_C.masked_fill(nothing_C, 0.0))

    @classmethod
    def join(cls, *parts: "Signal") -> "Signal":
        """Return the channels of a concatenation."""
        return cls(torch.cat([p.live_C for p in parts]), torch.cat([p.value_C for p in parts]))

    @property
    def is_constant(self) -> Tensor:
        """Return which channels are constants other than 0."""
        return ~self.live_C & (self.value_C != 0)


@dataclass(frozen=True)
class GateTrace:
    """A gate: which hidden units and outputs depend on the picture, and what the others are."""

    live_U: Tensor
    value_U: Tensor
    live_C: Tensor
    value_C: Tensor


@dataclass(frozen=True)
class BlockTrace:
    """A context guided block, from what it reads to the stream behind it."""

    weights: Weights
    is_down: bool
    dilation: int
    inputs: Signal
    entry: Signal
    joint: Signal
    output: Signal  # what is gated: the reduction's channels, or the joint ones
    gate: GateTrace
    stream: Signal


@dataclass(frozen=True)
class StageTrace:
    """A stage; ``concat`` goes into the fusing norm before it, which gives ``blocks[0].inputs``."""

    concat: Signal
    blocks: tuple[BlockTrace, ...]


@dataclass(frozen=True)
class Trace:
    """A network; ``fused`` is what the classifier reads."""

    weights: Weights
    stem: tuple[Signal, ...]
    stages: tuple[StageTrace, StageTrace]
    concat: Signal
    fused: Signal


def trace_network(weights: Weights, dilations: tuple[tuple[int, ...], tuple[int, ...]]) -> Trace:
    """Follow the channels of a network.

    Args:
        weights: the whole network's.
        dilations: of each block of stages 2 and 3, which weights do not tell.
    """
    signal = image = _computed(_IMAGE)
    stem = tuple(signal := _convolved(part, signal) for part in weights.children("stem"))
    stage_2 = _stage(weights, 2, Signal.join(signal, image), dilations[0])
    first, last = (stage_2.blocks[i].stream for i in (0, -1))
    stage_3 = _stage(weights, 3, Signal.join(last, first, image), dilations[1])
    concat = Signal.join(*(stage_3.blocks[i].stream for i in (0, -1)))
    fused = _fused(weights.at("fuse_3"), concat)
    return Trace(weights, stem, (stage_2, stage_3), concat, fused)


def _stage(weights: Weights, number: int, concat: Signal, dilations: tuple[int, ...]) -> StageTrace:
    parts = [weights.at(f"stage_{number}.down"), *weights.children(f"stage_{number}.blocks")]
    blocks = [_down(parts[0], _fused(weights.at(f"fuse_{number - 1}"), concat), dilations[0])]
    for part, dilation in zip(parts[1:], dilations[1:], strict=True):
        blocks.append(_residual(part, blocks[-1].stream, dilation))
    return StageTrace(concat, tuple(blocks))


def _down(part: Weights, inputs: Signal, dilation: int) -> BlockTrace:
    entry = _convolved(part.at("entry"), inputs)
    joint = _joint(part.at("context"), entry)
    joint = Signal.of(_some(joint.live_C), joint.value_C)
    reduce_OI = part["reduce.weight"].flatten(1)
    live = _some((links(reduce_OI) & joint.live_C).any(1))
    output = Signal.of(live, reduce_OI @ joint.value_C)
    gate = _gate(part.at("gate"), output)
    nothing = Signal(torch.zeros_like(live), torch.zeros_like(output.value_C))
    stream = _written(nothing, output, gate)
    return BlockTrace(part, True, dilation, inputs, entry, joint, output, gate, stream)


def _residual(part: Weights, inputs: Signal, dilation: int) -> BlockTrace:
    weight_OI, affine = part["entry.conv.weight"], Affine.of(part.at("entry"))
    live = (links(weight_OI, affine.scale_C) & inputs.live_C).any(1)
    entry = Signal.of(live, affine.constant(weight_OI.flatten(1) @ inputs.value_C))
    joint = _joint(part.at("context"), entry)
    gate = _gate(part.at("gate"), joint)
    stream = _written(inputs, joint, gate)
    return BlockTrace(part, False, dilation, inputs, entry, joint, joint, gate, stream)


def _convolved(part: Weights, inputs: Signal) -> Signal:
    """Zero-padded: what goes out for a constant depends on the distance to the border."""
    affine = Affine.of(part)
    felt_C = inputs.live_C | inputs.is_constant
    live = (links(part["conv.weight"], affine.scale_C) & felt_C).any(1)
    return Signal.of(_some(live), affine.constant())


def _joint(part: Weights, entry: Signal) -> Signal:
    affine = Affine.of(part.at("joint"))
    linked = links(torch.cat((part["local.weight"], part["surround.weight"])), affine.scale_C)[:, 0]
    felt_C = entry.live_C | entry.is_constant
    return Signal.of(linked & felt_C.repeat(2), affine.constant())


def _gate(part: Weights, inputs: Signal) -> GateTrace:
    squeeze_UC, excite_CU = part["squeeze.weight"], part["excite.weight"]
    live_U = (links(squeeze_UC) & inputs.live_C).any(1)
    value_U = torch.relu(squeeze_UC @ inputs.value_C + part["squeeze.bias"])
    value_U = value_U.masked_fill(live_U, 0.0)
    live_C = (links(excite_CU) & live_U).any(1)
    return GateTrace(
        live_U, value_U, live_C, torch.sigmoid(excite_CU @ value_U + part["excite.bias"])
    )


def _written(stream: Signal, output: Signal, gate: GateTrace) -> Signal:
    """A constant times a live gate is even over a picture, but another for each: live."""
    live = stream.live_C | output.live_C | (output.is_constant & gate.live_C)
    settled_C = ~output.live_C & ~gate.live_C
    return Signal(live, stream.value_C + settled_C * output.value_C * gate.value_C)


def _fused(part: Weights, inputs: Signal) -> Signal:
    affine = Affine.of(part)
    live = inputs.live_C & (affine.scale_C.abs() > THRESHOLD)
    return Signal.of(_some(live, inputs.live_C), affine.constant(inputs.value_C))


def _computed(channels: int) -> Signal:
    return Signal(
        torch.ones(channels, dtype=torch.bool), torch.zeros(channels, dtype=torch.float64)
    )


def _some(live_C: Tensor, candidates_C: Tensor | None = None) -> Tensor:
    """A layer keeps a channel, be it dead: count the first candidate as live if none is."""
    if live_C.any():
        return live_C
    first = torch.zeros_like(live_C)
    first[0 if candidates_C is None else int(candidates_C.nonzero()[0])] = True
    return first
