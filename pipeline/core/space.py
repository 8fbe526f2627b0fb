"""Finite search spaces: counted, enumerated and cut to a budget exactly, before any training."""

import importlib
import importlib.util
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.architecture import Architecture
from pipeline.core.cost import parameter_formula
from pipeline.core.errors import UsageError

Value = int | tuple[int, ...]
Label = int | str


@dataclass(frozen=True)
class SearchSpace:
    """Named choices for the fields of an ``Architecture``; what is not named keeps its default.

    ``only`` lists, for some choices together, which of their combinations are members, when not all
    are. A dilation pattern longer than its stage has blocks is left out: the shorter stage would be
    another member of the space under a second name.
    """

    name: str
    choices: Mapping[str, tuple[Value, ...]]
    only: Mapping[tuple[str, ...], tuple[tuple[Value, ...], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a choice that is no field of an architecture, or that offers nothing."""
        known = {field.name for field in fields(Architecture)} - {"num_classes"}
        for name, values in self.choices.items():
            if name not in known:
                raise UsageError(f"space {self.name}: {name} is none of {', '.join(sorted(known))}")
            if not values or len(set(values)) < len(values):
                raise UsageError(f"space {self.name}: {name} must list different values")
        for names, combinations in self.only.items():
            for values in combinations:
                if any(v not in self.choices[n] for n, v in zip(names, values, strict=True)):
                    raise UsageError(
                        f"space {self.name}: {', '.join(names)} {values} is not among the choices"
                    )

    def labels(self, name: str) -> tuple[Label, ...]:
        """Return the values of a choice as Optuna and people see them: 1-2-4 for a pattern."""
        return tuple(_label(value) for value in self.choices[name])

    def architecture(self, labels: Mapping[str, Any], num_classes: int) -> Architecture:
        """Return the architecture that a label for each choice names.

        Raises:
            UsageError: a choice is missing or has no such label.
        """
        try:
            chosen: dict[str, Any] = {
                name: values[self.labels(name).index(labels[name])]
                for name, values in self.choices.items()
            }
        except (KeyError, ValueError) as cause:
            raise UsageError(f"space {self.name} does not hold {dict(labels)}") from cause
        return Architecture(num_classes=num_classes, **chosen)

    def labels_of(self, architecture: Architecture) -> dict[str, Label]:
        """Return the label of each choice for an architecture, which may be of another space."""
        return {name: _label(getattr(architecture, name)) for name in self.choices}

    def pool(self, num_classes: int) -> "Pool":
        """Return every architecture of this space, smallest first."""
        shape = [len(values) for values in self.choices.values()]
        grid = np.indices(shape, dtype=np.int16).reshape(len(shape), -1).T
        pool = Pool(self, num_classes, grid, np.zeros(len(grid), dtype=np.int64))
        for names, combinations in self.only.items():
            pool = pool.keep(pool.has(names, combinations))
        for stage in ("2", "3"):
            pattern = pool.lengths(f"dilations_{stage}")
            pool = pool.keep(pattern <= pool.column(f"num_blocks_{stage}"))
        sizes = parameter_formula(num_classes, *pool.formula_columns())
        order = np.argsort(sizes, kind="stable")
        return Pool(self, num_classes, pool.picks[order], sizes[order])


@dataclass(frozen=True, eq=False)
class Pool:
    """Architectures of one space: row i picks value ``picks[i, j]`` of choice j.

    Attributes:
        space: where the architectures come from.
        num_classes: of every architecture here.
        picks: (n, choices) positions in each choice's values.
        num_params: (n,) trainable parameters, rising.
    """

    space: SearchSpace
    num_classes: int
    picks: NDArray[np.int16]
    num_params: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many architectures there are."""
        return len(self.picks)

    def keep(self, mask: NDArray[np.bool_]) -> "Pool":
        """Return the rows for which ``mask`` (n,) is true."""
        return Pool(self.space, self.num_classes, self.picks[mask], self.num_params[mask])

    def has(
        self, names: tuple[str, ...], combinations: tuple[tuple[Value, ...], ...]
    ) -> NDArray[np.bool_]:
        """Return (n,) whether a row has one of these combinations of values."""
        columns = [list(self.space.choices).index(name) for name in names]
        wanted = [
            [self.space.choices[n].index(v) for n, v in zip(names, values, strict=True)]
            for values in combinations
        ]
        equal = self.picks[:, None, columns] == np.array(wanted)
        return np.asarray(equal.all(axis=2).any(axis=1))

    def within(self, budget: int) -> "Pool":
        """Return the architectures of at most ``budget`` parameters.

        Raises:
            UsageError: none is that small; says what the smallest is.
        """
        if not (fits := self.num_params <= budget).any():
            raise UsageError(
                f"no network of space {self.space.name} has at most {budget:,} parameters: the "
                f"smallest has {self.num_params[0]:,} ({self.architecture(0).label})"
            )
        return self.keep(fits)

    def labels(self, row: int) -> dict[str, Label]:
        """Return the label of each choice for one row."""
        names = self.space.choices
        return {n: self.space.labels(n)[p] for n, p in zip(names, self.picks[row], strict=True)}

    def architecture(self, row: int) -> Architecture:
        """Return one row as an architecture."""
        return self.space.architecture(self.labels(row), self.num_classes)

    def row(self, labels: Mapping[str, Any]) -> int | None:
        """Return the row with these labels, or None if it is not in this pool."""
        code = 0
        for (name, values), step in zip(self._positions.items(), self._steps, strict=True):
            if (position := values.get(labels[name])) is None:
                return None
            code += position * step
        codes, rows = self._codes
        at = int(np.searchsorted(codes, code))
        return int(rows[at]) if at < len(codes) and codes[at] == code else None

    def row_of(self, architecture: Architecture) -> int | None:
        """Return the row of an architecture, or None if it is not in this pool."""
        row = self.row(self.space.labels_of(architecture))
        same = row is not None and self.architecture(row).id == architecture.id
        return row if same else None

    @cached_property
    def _positions(self) -> dict[str, dict[Label, int]]:
        names = self.space.choices
        return {name: {v: i for i, v in enumerate(self.space.labels(name))} for name in names}

    @cached_property
    def _steps(self) -> list[int]:
        """Return what one position of each choice adds to a row's code."""
        lengths = [len(values) for values in self.space.choices.values()]
        return [math.prod(lengths[j + 1 :]) for j in range(len(lengths))]

    @cached_property
    def _codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the codes of all rows, rising, and the row of each."""
        codes = self.picks.astype(np.int64) @ np.array(self._steps, dtype=np.int64)
        rows = np.argsort(codes)
        return codes[rows], rows

    def column(self, name: str) -> NDArray[np.int64]:
        """Return (n,) the value of a whole-number field for every row, chosen or default."""
        return self._column(name, lambda value: value)

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Return (n,) how long the pattern of field ``name`` is for every row."""
        return self._column(name, len)

    def formula_columns(self) -> tuple[Any, ...]:
        """Return blocks, widths and reductions as ``parameter_formula`` takes them."""
        widths = (self._column("widths", lambda w, i=i: w[i]) for i in range(3))
        return (
            self.column("num_blocks_2"),
            self.column("num_blocks_3"),
            *widths,
            self.column("reduction_2"),
            self.column("reduction_3"),
        )

    def _column(self, name: str, read: Any) -> NDArray[np.int64]:
        names = list(self.space.choices)
        if name not in names:
            return np.full(len(self), read(getattr(Architecture(), name)), dtype=np.int64)
        values = np.array([read(value) for value in self.space.choices[name]], dtype=np.int64)
        return values[self.picks[:, names.index(name)]]


def _label(value: Value) -> Label:
    return "-".join(map(str, value)) if isinstance(value, tuple) else value


def space_names() -> list[str]:
    """Return the names of the spaces that come with this package."""
    # By name, not by import: the declarations there import this module.
    package = importlib.import_module("search_spaces")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_space(name: str) -> SearchSpace:
    """Return the ``SPACE`` that a file declares: ``search_spaces/<name>.py``, or one given by path.

    A file of the user's is run: it is Python.

    Raises:
        UsageError: there is no such space, or the file declares none.
    """
    if name in space_names():
        module = importlib.import_module(f"search_spaces.{name}")
    elif name.endswith(".py") and Path(name).is_file():
        module = _run(Path(name))
    else:
        raise UsageError(
            f"no search space {name!r}: there are {', '.join(space_names())}; or give the path of "
            "a .py file that declares a SPACE"
        )
    space = getattr(module, "SPACE", None)
    if not isinstance(space, SearchSpace):
        raise UsageError(f"{name} declares no SPACE = SearchSpace(...)")
    return space


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "its name ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as cause:
        raise UsageError(f"{path} does not run: {type(cause).__name__}: {cause}") from cause
    return module
