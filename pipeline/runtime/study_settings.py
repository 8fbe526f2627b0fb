"""What a study is made with, which stays, and what may change from run to run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.proposer import MAX_CANDIDATES
from pipeline.core.stopping import RULES


@dataclass(frozen=True)
class Strategy:
    """How a study chooses its trials and ends them early; may change from run to run.

    Attributes:
        sampler: ehvi, or one of Optuna's: tpe, nsga2, gp, random, grid.
        stopping: front, asha or none.
        max_candidates: among which ehvi chooses at a time.
    """

    sampler: str = "ehvi"
    stopping: str = "front"
    max_candidates: int = MAX_CANDIDATES

    def __post_init__(self) -> None:
        """Refuse a rule that is none."""
        if self.stopping not in RULES:
            raise UsageError(f"no stopping {self.stopping!r}: there are {', '.join(RULES)}")


DEFAULT_STRATEGY = Strategy()


def as_kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a storage gives them back, which knows no tuples."""
    kept: dict[str, Any] = json.loads(json.dumps(settings))
    return kept


def check_same(name: str, saved: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Make sure that a study goes on with the settings it was made with.

    Raises:
        UsageError: it does not; says which differ.
    """
    differing = [
        f"{key} {saved.get(key)!r}, now {settings.get(key)!r}"
        for key in sorted({*saved, *settings})
        if saved.get(key) != settings.get(key)
    ]
    if differing:
        raise UsageError(
            f"study {name} was made with {'; '.join(differing)}: use the same, or another --name"
        )
