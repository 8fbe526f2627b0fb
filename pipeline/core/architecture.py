"""The genotype of a CGNet: everything that decides its shape, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """A CGNet variant. The defaults are the paper's M3N21.

    ``num_blocks_2`` (M) and ``num_blocks_3`` (N) count every block of stages 2 and 3, the
    downsampling one included. Block i of a stage has dilation ``dilations[i % len(dilations)]``:
    one rate for all, or a pattern that repeats over the blocks. A reduction divides a stage's
    channels to give the hidden width of its global context extractor.
    """

    num_classes: int = 19
    num_blocks_2: int = 3
    num_blocks_3: int = 21
    widths: tuple[int, int, int] = (32, 64, 128)
    dilations_2: tuple[int, ...] = (2,)
    dilations_3: tuple[int, ...] = (4,)
    reduction_2: int = 8
    reduction_3: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            UsageError: a count below 1, an odd width, or a reduction above its stage's width.
        """
        for name, value in (
            ("num_classes", self.num_classes),
            ("num_blocks_2", self.num_blocks_2),
            ("num_blocks_3", self.num_blocks_3),
            ("dilations_2", min(self.dilations_2, default=0)),
            ("dilations_3", min(self.dilations_3, default=0)),
        ):
            if value < 1:
                raise UsageError(f"architecture: {name} must be at least 1, got {value}")
        if len(self.widths) != 3 or min(self.widths) < 2 or any(w % 2 for w in self.widths[1:]):
            raise UsageError(
                f"architecture: widths must be three counts, the last two even; got {self.widths}"
            )
        for name, reduction, width in (
            ("reduction_2", self.reduction_2, self.widths[1]),
            ("reduction_3", self.reduction_3, self.widths[2]),
        ):
            if not 1 <= reduction <= width:
                raise UsageError(f"architecture: {name} must be 1 to {width}, got {reduction}")

    @property
    def block_dilations_2(self) -> tuple[int, ...]:
        """Return the dilation of each block of stage 2."""
        return _repeat(self.dilations_2, self.num_blocks_2)

    @property
    def block_dilations_3(self) -> tuple[int, ...]:
        """Return the dilation of each block of stage 3."""
        return _repeat(self.dilations_3, self.num_blocks_3)

    @property
    def id(self) -> str:
        """Return ten hex digits, equal exactly for architectures that build the same network."""
        canonical = asdict(self) | {
            "dilations_2": self.block_dilations_2,
            "dilations_3": self.block_dilations_3,
            "reduction_2": self.widths[1] // self.reduction_2,  # only the hidden width is built
            "reduction_3": self.widths[2] // self.reduction_3,
        }
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """Return a name for people, such as ``M3 N21 d2-4 r8-16`` (a pattern reads ``1.2.4``)."""
        dilations = "-".join(".".join(map(str, d)) for d in (self.dilations_2, self.dilations_3))
        text = f"M{self.num_blocks_2} N{self.num_blocks_3} d{dilations}"
        text += f" r{self.reduction_2}-{self.reduction_3}"
        if self.widths != Architecture.widths:
            text += " w" + "-".join(map(str, self.widths))
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Architecture":
        """Read what ``to_dict`` wrote."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**values)


def _repeat(pattern: tuple[int, ...], length: int) -> tuple[int, ...]:
    return tuple(pattern[i % len(pattern)] for i in range(length))
