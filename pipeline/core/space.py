"""Finite search spaces: counted, enumerated and cut to a budget exactly, before any training."""

import importlib
import importlib.util
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.architecture import SWITCHES, Architecture
from pipeline.core.cost import count_parameters, parameter_formula
from pipeline.core.errors import UsageError
from pipeline.core.repeats import first_of_each

Value = int | str | tuple[int, ...]
Label = int | str
Variants = Mapping[str, Mapping[str, Value]]  # fields that are set together, by their name


@dataclass(frozen=True)
class SearchSpace:
    """Named choices for the fields of an ``Architecture``; what is not named keeps its default.

    A choice is the values of the field of its name, or variants: named settings of one or more
    fields. Those say what a product of fields cannot, such as "one switch at a time".

    A dilation pattern longer than its stage has blocks is left out: the shorter stage would be
    another member of the space under a second name. So is what a switch makes equal to another.
    """

    name: str
    choices: Mapping[str, tuple[Value, ...] | Variants]

    def __post_init__(self) -> None:
        """Refuse a choice that is no field of an architecture, or that offers nothing."""
        known = {field.name for field in fields(Architecture)} - {"num_classes"}
        taken: set[str] = set()
        for name, values in self.choices.items():
            if not values or len(set(values)) < len(values):
                raise UsageError(f"space {self.name}: {name} must list different values")
            named = {field for setting in self.settings(name) for field in setting}
            for field in sorted(named):
                if field not in known:
                    raise UsageError(
                        f"space {self.name}: {field} is none of {', '.join(sorted(known))}"
                    )
                if field in taken:
                    raise UsageError(f"space {self.name}: two choices set {field}")
            taken |= named

    def settings(self, name: str) -> tuple[Mapping[str, Value], ...]:
        """Return the fields that each value of a choice sets."""
        values = self.choices[name]
        if isinstance(values, Mapping):
            return tuple(values.values())
        return tuple({name: value} for value in values)

    def labels(self, name: str) -> tuple[Label, ...]:
        """Return the values of a choice as Optuna and people see them: 1-2-4 for a pattern."""
        return tuple(_label(value) for value in self.choices[name])

    def architecture(self, labels: Mapping[str, Any], num_classes: int) -> Architecture:
        """Return the architecture that a label for each choice names.

        Raises:
            UsageError: a choice is missing or has no such label.
        """
        try:
            chosen: dict[str, Any] = {}
            for name in self.choices:
                chosen |= self.settings(name)[self.labels(name).index(labels[name])]
        except (KeyError, ValueError) as cause:
            raise UsageError(f"space {self.name} does not hold {dict(labels)}") from cause
        return Architecture(num_classes=num_classes, **chosen)

    def pool(self, num_classes: int) -> "Pool":
        """Return every architecture of this space, smallest first."""
        shape = [len(values) for values in self.choices.values()]
        grid = np.indices(shape, dtype=np.int16).reshape(len(shape), -1).T
        pool = Pool(self, num_classes, grid, np.zeros(len(grid), dtype=np.int64))
        for stage in ("2", "3"):
            pattern = pool.lengths(f"dilations_{stage}")
            pool = pool.keep(pattern <= pool.column(f"num_blocks_{stage}"))
        settings = [self.settings(name) for name in self.choices]
        if any(SWITCHES.keys() & value.keys() for choice in settings for value in choice):
            pool = pool.keep(first_of_each(settings, pool.picks))
        sizes = parameter_formula(num_classes, pool.column)
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

    def asked(self, labels: Mapping[str, Any]) -> "Pool":
        """Return a pool of the one combination with these labels, whether it is in this or not."""
        picks = [values[labels[name]] for name, values in self._positions.items()]
        return Pool(
            self.space, self.num_classes, np.array([picks], dtype=np.int16), np.zeros(1, int)
        )

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

    def row_of(self, architecture: Architecture) -> int | None:
        """Return the row that builds the network of ``architecture``, or None if none does."""
        same_size = np.flatnonzero(self.num_params == count_parameters(architecture))
        matching = (int(row) for row in same_size if self.architecture(row).id == architecture.id)
        return next(matching, None)

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Return (n,) how long the pattern of field ``name`` is for every row."""
        return self.column(name, len)

    def column(self, name: str, read: Callable[[Any], int] = int) -> NDArray[np.int64]:
        """Return (n,) the field ``name`` of every row, chosen or default, as ``read`` gives it."""
        default = getattr(Architecture(), name)
        for j, choice in enumerate(self.space.choices):
            settings = self.space.settings(choice)
            if any(name in setting for setting in settings):
                values = [read(setting.get(name, default)) for setting in settings]
                return np.array(values, dtype=np.int64)[self.picks[:, j]]
        return np.full(len(self), read(default), dtype=np.int64)


def _label(value: Value) -> Label:
    if isinstance(value, bool):
        return "on" if value else "off"
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
