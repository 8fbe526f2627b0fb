"""Which channels of a traced CGNet stay: those that are live and that somebody reads.

From the logits to the picture. C channels, O outputs, I inputs, S stream channels, U hidden units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.learning.compact.trace import BlockTrace, StageTrace, Trace
from pipeline.learning.compact.weights import Affine, links

# Lists of channels are int64 tensors, (n,), in the order they get in the compacted network.


@dataclass(frozen=True)
class KeptBlock:
    """What stays of a block.

    Attributes:
        reads: of the stream, or of the concatenation for a downsampling block.
        entry: outputs of the entry convolution: those of F_loc alone, of both, of F_sur alone.
        near: constants among the entry's outputs that F_loc filters.
        far: and F_sur.
        local: all that F_loc filters, ``near`` first.
        surround: all that F_sur filters, ``far`` last.
        joint: what F_joi joins, by its number in the original block.
        outputs: of what is gated, those that are computed.
        lifts: and those that are constants with a live gate.
        units: of the gate.
    """

    reads: Tensor
    entry: Tensor
    near: Tensor
    far: Tensor
    local: Tensor
    surround: Tensor
    joint: Tensor
    outputs: Tensor
    lifts: Tensor
    units: Tensor


@dataclass(frozen=True)
class KeptStage:
    """What stays of a stage: channels of its stream, and its blocks, None where one is gone."""

    stream: Tensor
    blocks: tuple[KeptBlock | None, ...]

    @property
    def down(self) -> KeptBlock:
        """Return the block that opens the stage, which always stays."""
        assert self.blocks[0] is not None
        return self.blocks[0]


@dataclass(frozen=True)
class Kept:
    """What stays of a network; ``fused`` are channels of the last concatenation."""

    stem: tuple[Tensor, ...]
    stages: tuple[KeptStage, KeptStage]
    fused: Tensor


def keep(trace: Trace) -> Kept:
    """Return the channels that the logits depend on."""
    read = links(trace.weights["classifier.weight"]).any(0)
    fused = _some(read & trace.fused.live_C, trace.fused.live_C)
    stage_2, stage_3 = trace.stages
    width_3 = len(trace.fused.live_C) // 2
    kept_3 = _keep_stage(stage_3, first=fused[:width_3], last=fused[width_3:])
    width_2 = len(stage_2.blocks[0].stream.live_C)
    needed = _mask(kept_3.down.reads, stage_3.concat.live_C)
    kept_2 = _keep_stage(stage_2, first=needed[width_2 : 2 * width_2], last=needed[:width_2])
    needed = _mask(kept_2.down.reads, stage_2.concat.live_C)
    return Kept(_keep_stem(trace, needed), (kept_2, kept_3), _numbers(fused))


def _keep_stem(trace: Trace, needed: Tensor) -> tuple[Tensor, ...]:
    kept: list[Tensor] = []
    for part, signal in reversed(
        list(zip(trace.weights.children("stem"), trace.stem, strict=True))
    ):
        stays = _some(needed[: len(signal.live_C)] & signal.live_C, signal.live_C)
        kept.insert(0, _numbers(stays))
        needed = _read_by(part["conv.weight"], Affine.of(part), stays)
    return tuple(kept)


def _keep_stage(stage: StageTrace, *, first: Tensor, last: Tensor) -> KeptStage:
    needed, stream = last, torch.zeros_like(last)
    kept: list[KeptBlock | None] = []
    for number, block in reversed(list(enumerate(stage.blocks))):
        if number == 0:
            needed = needed | first
        stays = _keep_block(block, needed)
        kept.insert(0, stays)
        if stays is not None:
            stream[torch.cat((stays.outputs, stays.lifts))] = True
            if number > 0:
                needed = needed.index_fill(0, stays.reads, value=True)
    return KeptStage(_numbers(stream), tuple(kept))


def _keep_block(block: BlockTrace, needed_S: Tensor) -> KeptBlock | None:
    gate, output = block.gate, block.output
    lifts = output.is_constant & gate.live_C & needed_S
    # Only gates of what is needed matter, and through them what their hidden units look at.
    gated = (output.live_C & gate.live_C & needed_S) | lifts
    gate_weights = block.weights.at("gate")
    units = gate.live_U & (links(gate_weights["excite.weight"]) & gated[:, None]).any(0)
    looked_at = (links(gate_weights["squeeze.weight"]) & units[:, None]).any(0)
    outputs = output.live_C & (needed_S | looked_at)
    if block.is_down:
        outputs = _some(outputs, output.live_C)
        reduce = links(block.weights["reduce.weight"]) & outputs[:, None]
        joint = _some(reduce.any(0) & block.joint.live_C, block.joint.live_C)
    else:
        joint = outputs
    if not joint.any():
        return None
    return _keep_context(block, joint, outputs, lifts, units)


def _keep_context(
    block: BlockTrace, joint: Tensor, outputs: Tensor, lifts: Tensor, units: Tensor
) -> KeptBlock:
    """Return the block of these joint channels, outputs, lifts and hidden units (masks)."""
    local, surround = joint.chunk(2)
    seen = local | surround
    computed = _some(block.entry.live_C & seen, seen)
    part = block.weights.at("entry")
    reads = _read_by(part["conv.weight"], Affine.of(part), computed) & block.inputs.live_C
    near, far = _numbers(local & ~computed), _numbers(surround & ~computed)
    alone = _numbers(computed & ~surround), _numbers(computed & ~local)
    both = _numbers(computed & local & surround)
    near_first, far_last = torch.cat((near, alone[0], both)), torch.cat((both, alone[1], far))
    joined = torch.cat((near_first, far_last + len(local)))
    return KeptBlock(
        reads=_numbers(_some(reads, block.inputs.live_C)),
        entry=torch.cat((alone[0], both, alone[1])),
        near=near,
        far=far,
        local=near_first,
        surround=far_last,
        joint=joined,
        outputs=_numbers(outputs) if block.is_down else joined,
        lifts=_numbers(lifts),
        units=_numbers(units),
    )


def _read_by(weight_OI: Tensor, affine: Affine, outputs_O: Tensor) -> Tensor:
    return (links(weight_OI, affine.scale_C) & outputs_O[:, None]).any(0)


def _numbers(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def _mask(numbers: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).index_fill(0, numbers, value=True)


def _some(mask: Tensor, candidates: Tensor) -> Tensor:
    """A layer keeps a channel: the first candidate if nobody needs any."""
    return mask if mask.any() else _mask(_numbers(candidates)[:1], mask)
