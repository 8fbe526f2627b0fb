"""Values of JSON that someone else may have written, as what they have to be."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def text(value: Any) -> str:
    """Return a value that is a text.

    Raises:
        TypeError: it is none, or cannot be written as UTF-8.
    """
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise TypeError(f"got {value!r}, wanted a text")
    return value


def count(value: Any, least: int = 0) -> int:
    """Return a value that is a whole number of 64 bits, ``least`` or above.

    Raises:
        TypeError: it is none.
    """
    if type(value) is not int or not least <= value < 1 << 63:
        raise TypeError(f"got {value!r}, wanted a whole number from {least} on")
    return value


def number(value: Any) -> float:
    """Return a value that is a number, and not infinite.

    Raises:
        TypeError: it is none.
    """
    if type(value) not in (int, float) or not abs(value) < 1e300 or math.isnan(value):
        raise TypeError(f"got {value!r}, wanted a number")
    return float(value)


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Return values that are texts; see ``text``."""
    return tuple(text(value) for value in _listed(values))


def counts(values: Iterable[Any], length: int, least: int = 0) -> tuple[int, ...]:
    """Return ``length`` values that are whole numbers; see ``count``."""
    return tuple(count(value, least) for value in _listed(values, length))


def numbers(values: Iterable[Any], length: int) -> tuple[float, ...]:
    """Return ``length`` values that are numbers; see ``number``."""
    return tuple(number(value) for value in _listed(values, length))


def counts_by_name(values: Mapping[str, Any]) -> dict[str, int]:
    """Return whole numbers by name; see ``count``."""
    return {text(name): count(value) for name, value in values.items()}


def colours(values: Iterable[Any], length: int) -> tuple[tuple[int, int, int], ...]:
    """Return ``length`` colours, each three numbers of 0..255.

    Raises:
        TypeError: they are none.
    """
    found = [counts(value, 3) for value in _listed(values, length)]
    if any(channel > 255 for colour in found for channel in colour):
        raise TypeError("got a colour beyond 255")
    return tuple((red, green, blue) for red, green, blue in found)


def _listed(values: Any, length: int | None = None) -> Iterable[Any]:
    if not isinstance(values, list | tuple) or length not in (None, len(values)):
        raise TypeError(f"got {values!r}, wanted {'a list' if length is None else length}")
    return values
