"""The compacted network: what stays of the weights, with the constants that are gone folded in.

Where a constant goes:

- into a 1x1 convolution, or into the stream of a stage: into the running mean of the batch norm
  that reads it, where it changes nothing even in training, for that norm subtracts its mean;
- into a zero-padded convolution: into the kernel ``border``, which convolves ones;
- before F_loc and F_sur: it stays, as a number (``near``, ``far``) instead of a filter;
- into the reduction or the classifier: into its bias;
- into a gate: into the gate's biases, or, for what is gated, a constant times a gate (``lifts``).

A gate that is a constant is a factor of the PReLU before it, which a positive factor passes.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.learning.compact.keep import Kept, KeptBlock, KeptStage
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.shape import BlockShape, Channels, CompactShape, StageShape
from pipeline.learning.compact.trace import BlockTrace, Signal, StageTrace, Trace
from pipeline.learning.compact.weights import THRESHOLD, Weights
from pipeline.learning.denormals import NEXT_TO_NOTHING

_IMAGE = 3


@dataclass(frozen=True)
class _Parts:
    """The state dict that is being written."""

    state: dict[str, Tensor] = field(default_factory=dict)

    def put(self, name: str, value: Tensor) -> None:
        self.state[name] = value.masked_fill(value.abs() < NEXT_TO_NOTHING, 0.0)

    def put_optional(self, name: str, value: Tensor) -> bool:
        """Write a tensor unless it is nothing but zeros; return whether it was written."""
        if written := bool((value.abs() > THRESHOLD).any()):
            self.put(name, value)
        return written

    def put_norm_act(
        self,
        name: str,
        part: Weights,
        kept: Tensor,
        *,
        constant_C: Tensor | None = None,
        factor_C: Tensor | None = None,
    ) -> None:
        """Write a norm and its PReLU for inputs without a constant, outputs times a factor."""
        factor = torch.ones_like(part["norm.weight"]) if factor_C is None else factor_C
        mean = (
            part["norm.running_mean"]
            if constant_C is None
            else (part["norm.running_mean"] - constant_C)
        )
        self.put(f"{name}.norm.weight", (part["norm.weight"] * factor)[kept])
        self.put(f"{name}.norm.bias", (part["norm.bias"] * factor)[kept])
        self.put(f"{name}.norm.running_mean", mean[kept])
        self.put(f"{name}.norm.running_var", part["norm.running_var"][kept])
        self.state[f"{name}.norm.num_batches_tracked"] = part["norm.num_batches_tracked"].long()
        self.put(f"{name}.act.weight", part["act.weight"][kept])

    def put_padded(
        self, name: str, part: Weights, inputs: Signal, reads: Tensor, kept: Tensor
    ) -> bool:
        """Write a zero-padded convolution with its norm; return whether it has a border."""
        weight_OIHW = part["conv.weight"][kept]
        self.put(f"{name}.conv.weight", weight_OIHW[:, reads])
        self.put_norm_act(name, part, kept)
        border_O1HW = (weight_OIHW * inputs.value_C[:, None, None]).sum(1, keepdim=True)
        return self.put_optional(f"{name}.border.weight", border_O1HW)


def rewrite(trace: Trace, kept: Kept) -> CompactCGNet:
    """Return the network of what is kept, in double precision."""
    parts = _Parts()
    weights = trace.weights
    stem_border = _write_stem(parts, trace, kept)
    image = torch.arange(_IMAGE)
    carried_1 = torch.cat((kept.stem[2], image + len(trace.stem[2].live_C)))
    stage_2 = _write_stage(parts, weights, 2, trace.stages[0], kept.stages[0], carried_1)
    width_2 = len(trace.stages[0].blocks[0].stream.live_C)
    stream_2 = kept.stages[0].stream
    carried_2 = torch.cat((stream_2, stream_2 + width_2, image + 2 * width_2))
    stage_3 = _write_stage(parts, weights, 3, trace.stages[1], kept.stages[1], carried_2)
    stream_3 = kept.stages[1].stream
    carried_3 = torch.cat((stream_3, stream_3 + len(trace.concat.live_C) // 2))
    parts.put_norm_act("fuse_3", weights.at("fuse_3"), kept.fused, constant_C=trace.concat.value_C)
    classifier = weights["classifier.weight"]
    parts.put("classifier.weight", classifier[:, kept.fused])
    bias = parts.put_optional("classifier.bias", classifier.flatten(1) @ trace.fused.value_C)
    shape = CompactShape(
        num_classes=len(classifier),
        stem=tuple(len(rows) for rows in kept.stem),
        stem_border=stem_border,
        stages=(stage_2, stage_3),
        reads=_places(carried_3, kept.fused),
        classifier_bias=bias,
    )
    network = CompactCGNet(shape).double()
    network.load_state_dict(parts.state)
    return network


def _write_stem(parts: _Parts, trace: Trace, kept: Kept) -> tuple[bool, ...]:
    image = Signal(torch.ones(_IMAGE, dtype=torch.bool), torch.zeros(_IMAGE, dtype=torch.float64))
    inputs, reads = (image, *trace.stem[:2]), (torch.arange(_IMAGE), *kept.stem[:2])
    return tuple(
        parts.put_padded(f"stem.{i}", trace.weights.at(f"stem.{i}"), inputs[i], reads[i], rows)
        for i, rows in enumerate(kept.stem)
    )


def _write_stage(
    parts: _Parts,
    weights: Weights,
    number: int,
    trace: StageTrace,
    kept: KeptStage,
    carried: Tensor,
) -> StageShape:
    """Write the fusing norm before a stage and the stage.

    Args:
        parts: where to.
        weights: of the original network.
        number: of the stage.
        trace: what its channels are.
        kept: what stays.
        carried: the channels of the original concatenation that there still are.
    """
    fuse, name = f"fuse_{number - 1}", f"stage_{number}"
    down, kept_down = trace.blocks[0], kept.down
    parts.put_norm_act(fuse, weights.at(fuse), kept_down.reads, constant_C=trace.concat.value_C)
    border = parts.put_padded(
        f"{name}.down.entry",
        down.weights.at("entry"),
        down.inputs,
        kept_down.reads,
        kept_down.entry,
    )
    reduce_bias = _write_reduction(parts, f"{name}.down.reduce", down, kept_down)
    _write_context(parts, f"{name}.down", down, kept_down, factor_C=None)
    blocks: list[BlockShape] = []
    for block, stays in zip(trace.blocks[1:], kept.blocks[1:], strict=True):
        if stays is not None:
            _write_residual(parts, f"{name}.blocks.{len(blocks)}", block, stays)
            blocks.append(_block_shape(block, stays, kept.stream, kept.stream))
    return StageShape(
        width=len(kept.stream),
        border=border,
        reduce_bias=reduce_bias,
        down=_block_shape(down, kept_down, carried, kept.stream),
        blocks=tuple(blocks),
    )


def _write_reduction(parts: _Parts, name: str, block: BlockTrace, kept: KeptBlock) -> bool:
    rows = block.weights["reduce.weight"][kept.outputs]
    rows = rows * _settled_gate(block, kept)[kept.outputs, None, None, None]
    parts.put(f"{name}.weight", rows[:, kept.joint])
    return parts.put_optional(f"{name}.bias", rows.flatten(1) @ block.joint.value_C)


def _write_residual(parts: _Parts, name: str, block: BlockTrace, kept: KeptBlock) -> None:
    entry = block.weights.at("entry")
    weight_OIHW = entry["conv.weight"]
    constant_O = weight_OIHW.flatten(1) @ block.inputs.value_C
    parts.put(f"{name}.entry.conv.weight", weight_OIHW[kept.entry][:, kept.reads])
    parts.put_norm_act(f"{name}.entry", entry, kept.entry, constant_C=constant_O)
    _write_context(parts, name, block, kept, factor_C=_settled_gate(block, kept))


def _write_context(
    parts: _Parts, name: str, block: BlockTrace, kept: KeptBlock, factor_C: Tensor | None
) -> None:
    context = block.weights.at("context")
    for constants, channels in (("near", kept.near), ("far", kept.far)):
        if len(channels):
            parts.put(f"{name}.context.{constants}", block.entry.value_C[channels])
    for extractor, channels in (("local", kept.local), ("surround", kept.surround)):
        if len(channels):
            weight = context[f"{extractor}.weight"][channels]
            parts.put(f"{name}.context.{extractor}.weight", weight)
    parts.put_norm_act(f"{name}.context.joint", context.at("joint"), kept.joint, factor_C=factor_C)
    if len(kept.units):
        _write_gate(parts, f"{name}.write", block, kept)


def _write_gate(parts: _Parts, name: str, block: BlockTrace, kept: KeptBlock) -> None:
    gate, constant_C = block.weights.at("gate"), block.output.value_C
    rows = torch.cat((kept.outputs, kept.lifts))
    squeeze_UC, excite_CU = gate["squeeze.weight"][kept.units], gate["excite.weight"][rows]
    parts.put(f"{name}.gate.squeeze.weight", squeeze_UC[:, kept.outputs])
    parts.put(
        f"{name}.gate.squeeze.bias", gate["squeeze.bias"][kept.units] + squeeze_UC @ constant_C
    )
    parts.put(f"{name}.gate.excite.weight", excite_CU[:, kept.units])
    parts.put(
        f"{name}.gate.excite.bias", gate["excite.bias"][rows] + excite_CU @ block.gate.value_U
    )
    if len(kept.lifts):
        parts.put(f"{name}.lifts", constant_C[kept.lifts])


def _settled_gate(block: BlockTrace, kept: KeptBlock) -> Tensor:
    """Return the factor that the gate is for every picture, 1 where the gate stays."""
    return torch.ones_like(block.gate.value_C) if len(kept.units) else block.gate.value_C


def _block_shape(block: BlockTrace, kept: KeptBlock, carried: Tensor, stream: Tensor) -> BlockShape:
    return BlockShape(
        reads=_places(carried, kept.reads),
        entry=len(kept.entry),
        near=len(kept.near),
        far=len(kept.far),
        local=len(kept.local),
        surround=len(kept.surround),
        dilation=block.dilation,
        hidden=len(kept.units),
        writes=_places(stream, kept.outputs),
        lifts=_places(stream, kept.lifts),
    )


def _places(carried: Tensor, channels: Tensor) -> Channels:
    """Return where channels are among those that are carried, which are in rising order."""
    return tuple(torch.searchsorted(carried, channels).tolist())
