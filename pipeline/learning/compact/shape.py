"""The shape of a compacted network: all that its weights do not say, as JSON.

A stage's *stream* is what its residual blocks add to. Compaction leaves fewer channels in it, and
each block reads and writes some of them, so a shape holds lists of channels beside counts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Channels = tuple[int, ...]


@dataclass(frozen=True)
class BlockShape:
    """A context guided block.

    Attributes:
        reads: input channels that the entry convolution takes, in its order.
        entry: channels it gives.
        near: constants in front of them, for F_loc.
        far: constants behind them, for F_sur.
        local: how many of all these F_loc filters, counted from the first.
        surround: how many of them F_sur filters, counted from the last.
        dilation: of F_sur.
        hidden: units of F_glo; 0 where the gate was constant and is part of other weights.
        writes: the stream channel of each channel that the block computes.
        lifts: stream channels that get a constant times a gate: even over a picture, and another
            for each picture.
    """

    reads: Channels
    entry: int
    near: int
    far: int
    local: int
    surround: int
    dilation: int
    hidden: int
    writes: Channels
    lifts: Channels


@dataclass(frozen=True)
class StageShape:
    """A stage; what its first block reads are channels of the concatenation before it.

    Attributes:
        width: channels of the stream.
        border: whether constant channels are gone whose convolution pads with zeros.
        reduce_bias: whether constant channels are gone before the 1x1 reduction.
        down: the block that opens the stage.
        blocks: the residual blocks that are left.
    """

    width: int
    border: bool
    reduce_bias: bool
    down: BlockShape
    blocks: tuple[BlockShape, ...]


@dataclass(frozen=True)
class CompactShape:
    """A compacted CGNet.

    Attributes:
        num_classes: channels of the logits.
        stem: channels of the three opening convolutions.
        stem_border: ``border`` of each of them, as in ``StageShape``.
        stages: stages 2 and 3.
        reads: channels of the last concatenation that the classifier takes.
        classifier_bias: whether constant channels are gone before the classifier.
        folded: whether batch norm is part of the convolutions.
    """

    num_classes: int
    stem: Channels
    stem_border: tuple[bool, ...]
    stages: tuple[StageShape, StageShape]
    reads: Channels
    classifier_bias: bool
    folded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "CompactShape":
        """Read what ``to_dict`` wrote, straight or through JSON."""
        first, second = (_stage(stage) for stage in fields["stages"])
        return cls(**_tuples(fields) | {"stages": (first, second)})


def _stage(fields: Mapping[str, Any]) -> StageShape:
    down = BlockShape(**_tuples(fields["down"]))
    blocks = tuple(BlockShape(**_tuples(block)) for block in fields["blocks"])
    return StageShape(**dict(fields) | {"down": down, "blocks": blocks})


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
