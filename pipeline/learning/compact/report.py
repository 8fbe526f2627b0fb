"""What a compaction took out, and why."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.learning.compact.keep import Kept, KeptBlock
from pipeline.learning.compact.trace import BlockTrace, Signal, Trace


@dataclass(frozen=True)
class Removed:
    """How many of one kind there were and how many went.

    Attributes:
        kind: what is counted.
        built: how many there were.
        zero: gone because they were 0 for every picture.
        constant: gone because they were the same for every picture, and folded.
        unread: gone because nothing that reaches the logits read them.
    """

    kind: str
    built: int
    zero: int
    constant: int
    unread: int

    @property
    def kept(self) -> int:
        """Return how many are left."""
        return self.built - self.zero - self.constant - self.unread

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            self.kind,
            self.built + other.built,
            self.zero + other.zero,
            self.constant + other.constant,
            self.unread + other.unread,
        )


def removed(trace: Trace, kept: Kept) -> tuple[Removed, ...]:
    """Return what went, kind by kind."""
    counts = [
        _count("stem filters", signal, rows)
        for signal, rows in zip(trace.stem, kept.stem, strict=True)
    ]
    for stage, stays in zip(trace.stages, kept.stages, strict=True):
        for block, left in zip(stage.blocks, stays.blocks, strict=True):
            counts += _count_block(block, left)
        counts.append(_count("fused channels", stage.blocks[0].inputs, stays.down.reads))
        counts.append(_count("stream channels", stage.blocks[-1].stream, stays.stream))
    counts.append(_count("fused channels", trace.fused, kept.fused))
    totals: dict[str, Removed] = {}
    for count in counts:
        totals[count.kind] = totals[count.kind] + count if count.kind in totals else count
    return tuple(totals.values())


def _count_block(block: BlockTrace, kept: KeptBlock | None) -> list[Removed]:
    half = len(block.joint.live_C) // 2
    none = torch.zeros(0, dtype=torch.int64)
    entry, local, surround, outputs, units = (
        (none,) * 5
        if kept is None
        else (kept.entry, kept.local, kept.surround, kept.outputs, kept.units)
    )
    near, far = (
        Signal(block.joint.live_C[part], block.joint.value_C[part])
        for part in (slice(half), slice(half, None))
    )
    gate = block.gate
    counts = [
        _count("entry filters", block.entry, entry),
        _count("local filters", near, local),
        _count("surround filters", far, surround),
        _count("gate units", Signal(gate.live_U, gate.value_U), units),
    ]
    if block.is_down:
        return [*counts, _count("reduction filters", block.output, outputs)]
    return [*counts, _count_whole(block, kept)]


def _count_whole(block: BlockTrace, kept: KeptBlock | None) -> Removed:
    cause = "kept"
    if kept is None:
        output = block.output
        unread, constant = output.live_C.any(), output.is_constant.any()
        cause = "unread" if unread else "constant" if constant else "zero"
    causes = (int(cause == name) for name in ("zero", "constant", "unread"))
    return Removed("residual blocks", 1, *causes)


def _count(kind: str, signal: Signal, kept: Tensor) -> Removed:
    gone = torch.ones_like(signal.live_C).index_fill(0, kept, value=False)
    constant, unread = gone & signal.is_constant, gone & signal.live_C
    zero = gone & ~constant & ~unread
    return Removed(kind, len(gone), *(int(mask.sum()) for mask in (zero, constant, unread)))
