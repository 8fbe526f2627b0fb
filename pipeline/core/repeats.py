"""Rows of a space that build the same network, found without building every architecture.

A switch can hide what another choice says: without global context every reduction is the same.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.architecture import Architecture

# The parts of what is built, each with the fields that decide it. Two architectures of the same
# classes build the same network exactly when every part is equal, as in ``Architecture.id``.
_PARTS: tuple[tuple[set[str], Callable[[Architecture], Hashable]], ...] = (
    ({"num_blocks_2", "dilations_2", "surround"}, attrgetter("block_dilations_2")),
    ({"num_blocks_3", "dilations_3", "surround"}, attrgetter("block_dilations_3")),
    (
        {"widths", "reduction_2", "reduction_3", "global_context"},
        attrgetter("widths", "hidden_2", "hidden_3"),
    ),
    ({"num_blocks_2", "num_blocks_3", "residual"}, attrgetter("built_residual")),
    (
        {"input_injection", "activation", "pointwise"},
        attrgetter("input_injection", "activation", "pointwise"),
    ),
)

Settings = Sequence[Mapping[str, Any]]  # the fields that each value of one choice sets


def first_of_each(choices: Sequence[Settings], picks: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return (n,) whether a row is the first that builds its network.

    Args:
        choices: of the space.
        picks: (n, choices) the value that each row picks of each choice.
    """
    codes = np.stack([_codes(choices, picks, *part) for part in _PARTS], axis=1)
    first = np.zeros(len(picks), dtype=np.bool_)
    first[np.unique(codes, axis=0, return_index=True)[1]] = True
    return first


def _codes(
    choices: Sequence[Settings],
    picks: NDArray[np.int16],
    fields: set[str],
    read: Callable[[Architecture], Hashable],
) -> NDArray[np.int64]:
    """Return (n,) a number for each row, equal where the part that ``read`` gives is."""
    deciding = [j for j, settings in enumerate(choices) if any(fields & {*s} for s in settings)]
    combinations, of_row = np.unique(picks[:, deciding], axis=0, return_inverse=True)
    known: dict[Hashable, int] = {}
    codes = []
    for combination in combinations:
        chosen: dict[str, Any] = {}
        for j, pick in zip(deciding, combination, strict=True):
            chosen |= {name: v for name, v in choices[j][pick].items() if name in fields}
        codes.append(known.setdefault(read(Architecture(**chosen)), len(known)))
    return np.array(codes, dtype=np.int64)[of_row.reshape(-1)]
