"""Counts, durations and sizes as people write them: 0.5M, 1h30m, 120x160, 32MB."""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import UsageError

_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_COUNT = re.compile(r"(\d+(?:[_,]\d{3})*(?:\.\d+)?|\.\d+)\s*([kmg]?)", re.IGNORECASE)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_SIZE = re.compile(r"(\d+)x(\d+)", re.IGNORECASE)
_BYTES = re.compile(r"(.*?)\s*b(?:ytes?)?", re.IGNORECASE)


@dataclass(frozen=True)
class ShardSize:
    """How much a shard holds: so many samples, or about so many bytes."""

    amount: int
    unit: Literal["samples", "bytes"]

    def __str__(self) -> str:
        """Return it for people."""
        return f"{format_count(self.amount)} {self.unit}"


def parse_count(text: str) -> int:
    """Return the whole number that ``text`` names.

    Args:
        text: digits, with an optional fraction and one of k, M, G: ``0.5M``, ``500k``, ``496306``.

    Raises:
        UsageError: ``text`` is no count, or not a whole number of at least 1.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a count: write digits with an optional k, M or G, like 0.5M"
        )
    digits, suffix = match.groups()
    whole, _, fraction = re.sub("[_,]", "", digits).partition(".")
    scaled, rest = divmod(
        int((whole or "0") + fraction) * _FACTORS[suffix.lower()], 10 ** len(fraction)
    )
    if rest or scaled < 1:
        raise UsageError(f"{text!r} is not a whole number of at least 1")
    return int(scaled)


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` names: ``2h``, ``90m``, ``1h30m``, ``45s``.

    Raises:
        UsageError: ``text`` is no duration, or none at all.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in match.groups()] if match else [0.0]
    if sum(parts) <= 0:
        raise UsageError(f"{text!r} is not a duration: write hours, minutes, seconds, like 1h30m")
    hours, minutes, seconds = parts
    return hours * 3600 + minutes * 60 + seconds


def format_duration(seconds: float) -> str:
    """Return ``seconds`` for people, in the unit that suits."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_count(count: int) -> str:
    """Return ``count`` to four digits or fewer for people: 494258 becomes ``494.3k``."""
    for suffix, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= factor:
            return f"{count / factor:.4g}{suffix}"
    return str(count)


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) in pixels from ``HxW``.

    Raises:
        UsageError: ``text`` is not two whole numbers of at least 8 joined by an x.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or min(height_width := (int(match[1]), int(match[2]))) < 8:
        raise UsageError(f"{text!r} is not a picture size: write HEIGHTxWIDTH, like 120x160")
    return height_width


def parse_shard_size(text: str) -> ShardSize:
    """Return what ``64`` (samples) or ``32MB`` (bytes, in powers of 1000) stands for.

    Raises:
        UsageError: ``text`` is neither.
    """
    in_bytes = _BYTES.fullmatch(text.strip())
    try:
        amount = parse_count(in_bytes[1] if in_bytes else text)
    except UsageError as cause:
        raise UsageError(
            f"{text!r} is not a shard size: write samples, like 64, or bytes, like 32MB"
        ) from cause
    return ShardSize(amount, "bytes" if in_bytes else "samples")
