"""The genotype of a CGNet: everything that decides its shape, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from pipeline.core.errors import UsageError

# What the paper's ablations turn, with the paper's own setting first. A setting that is the
# paper's is left out of JSON and ids: networks from before there were switches keep theirs.
SWITCHES: Mapping[str, tuple[str | bool, ...]] = {
    "surround": ("full", "last", "none"),
    "global_context": (True, False),
    "input_injection": (True, False),
    "activation": ("prelu", "relu"),
    "residual": ("global", "local", "none"),
    "pointwise": (False, True),
}

MOST = 1 << 16  # of blocks, classes and rates: a file that says more would fill the memory


@dataclass(frozen=True)
class Architecture:
    """A CGNet variant. The defaults are the paper's M3N21.

    ``num_blocks_2`` (M) and ``num_blocks_3`` (N) count every block of stages 2 and 3, the
    downsampling one included. Block i of a stage has dilation ``dilations[i % len(dilations)]``:
    one rate for all, or a pattern that repeats over the blocks. A reduction divides a stage's
    channels to give the hidden width of its global context extractor.

    Attributes:
        surround: which blocks see surrounding context: all, the network's last one, or none. In
            the others F_sur is a second local extractor, so the size stays the same.
        global_context: whether blocks weigh their channels by the whole picture (F_glo).
        input_injection: whether the picture is fed again to stages 2 and 3.
        activation: after every batch norm.
        residual: where a block's input is added: behind F_glo (the paper's GRL), between F_joi
            and F_glo (LRL), or nowhere.
        pointwise: whether a 1x1 convolution follows each channel-wise one.
    """

    num_classes: int = 19
    num_blocks_2: int = 3
    num_blocks_3: int = 21
    widths: tuple[int, int, int] = (32, 64, 128)
    dilations_2: tuple[int, ...] = (2,)
    dilations_3: tuple[int, ...] = (4,)
    reduction_2: int = 8
    reduction_3: int = 16
    surround: Literal["full", "last", "none"] = "full"
    global_context: bool = True
    input_injection: bool = True
    activation: Literal["prelu", "relu"] = "prelu"
    residual: Literal["global", "local", "none"] = "global"
    pointwise: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            UsageError: a count below 1 or above ``MOST``, an odd width, a reduction above its
                stage's width, or a switch without such a setting.
        """
        for name, values in (
            ("num_classes", (self.num_classes,)),
            ("num_blocks_2", (self.num_blocks_2,)),
            ("num_blocks_3", (self.num_blocks_3,)),
            ("dilations_2", self.dilations_2),
            ("dilations_3", self.dilations_3),
        ):
            if (value := min(values, default=0)) < 1:
                raise UsageError(f"architecture: {name} must be at least 1, got {value}")
            if (value := max(values)) > MOST:
                raise UsageError(f"architecture: {name} must be at most {MOST}, got {value}")
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
        for name, settings in SWITCHES.items():
            if (value := getattr(self, name)) not in settings:
                known = ", ".join(map(_word, settings))
                raise UsageError(f"architecture: {name} must be one of {known}, got {value!r}")

    @property
    def block_dilations_2(self) -> tuple[int, ...]:
        """Return the dilation of F_sur in each block of stage 2; 1 where it is a local one."""
        if self.surround == "full":
            return _repeat(self.dilations_2, self.num_blocks_2)
        return (1,) * self.num_blocks_2

    @property
    def block_dilations_3(self) -> tuple[int, ...]:
        """Return the dilation of F_sur in each block of stage 3; 1 where it is a local one."""
        dilations = _repeat(self.dilations_3, self.num_blocks_3)
        if self.surround == "full":
            return dilations
        last = dilations[-1] if self.surround == "last" else 1
        return (*(1,) * (self.num_blocks_3 - 1), last)

    @property
    def hidden_2(self) -> int:
        """Return the hidden width of F_glo in stage 2; 0 without global context."""
        return self.widths[1] // self.reduction_2 if self.global_context else 0

    @property
    def hidden_3(self) -> int:
        """Return the hidden width of F_glo in stage 3; 0 without global context."""
        return self.widths[2] // self.reduction_3 if self.global_context else 0

    @property
    def built_residual(self) -> str:
        """Return the residual; "none" where no block has an input of its own width to add."""
        return "none" if self.num_blocks_2 == self.num_blocks_3 == 1 else self.residual

    @property
    def id(self) -> str:
        """Return ten hex digits, equal exactly for architectures that build the same network."""
        # Two fields say what is built under the names of those that led to it.
        canonical = self.to_dict() | {
            "dilations_2": self.block_dilations_2,
            "dilations_3": self.block_dilations_3,
            "reduction_2": self.hidden_2,
            "reduction_3": self.hidden_3,
        }
        canonical.pop("surround", None)  # all in the dilations
        canonical.pop("global_context", None)  # all in the hidden widths
        if self.num_blocks_2 == self.num_blocks_3 == 1:
            canonical.pop("residual", None)  # all the same there
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
        return text + "".join(f" {name}={_word(value)}" for name, value in self._turned().items())

    def _turned(self) -> dict[str, str | bool]:
        """Return the switches that are not as in the paper."""
        settings = {name: getattr(self, name) for name in SWITCHES}
        return {name: value for name, value in settings.items() if value != SWITCHES[name][0]}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, without switches that are as in the paper."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in SWITCHES}
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in numbers.items()}
        return plain | self._turned()

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> "Architecture":
        """Read what ``to_dict`` wrote."""
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in written.items()
        }
        return cls(**values)


def _repeat(pattern: tuple[int, ...], length: int) -> tuple[int, ...]:
    return tuple(pattern[i % len(pattern)] for i in range(length))


def _word(setting: str | bool) -> str:
    return setting if isinstance(setting, str) else ("off", "on")[setting]
