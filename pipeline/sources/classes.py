"""The classes of somebody's own masks, from a small TOML file.

name = "rooms"                    # of the data set
ignore = 255                      # the mask's value for pixels without a class (the default)
ignore_colours = [[0, 0, 0]]      # likewise, in masks in colours (none by default)

[[classes]]
name = "floor"
colour = [128, 64, 128]
id = 1                            # the mask's value for it; its position by default, from 0
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable, Colour

MAX_CLASSES = 255  # a label is a byte, and one of its values is for what is ignored

# What a bucket, a folder and MLflow all take for a name; a class's also stands in metrics.
_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CLASS_NAME = re.compile(r"\w[\w .-]*")


class _MaskClass(NamedTuple):
    name: str
    colour: Colour
    value: int


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a data set, and what stands for them in its masks.

    Attributes:
        name: of the data set.
        table: the classes by label id; ``ignore_index`` is ``ignore`` unless a class has that id.
        values: the value in a mask of each class.
        ignore: the value in a mask of pixels without a class.
        ignore_colours: the colours of such pixels.
    """

    name: str
    table: ClassTable
    values: tuple[int, ...]
    ignore: int
    ignore_colours: tuple[Colour, ...]

    def ids_of_values(self) -> Mapping[int, int]:
        """Return the label id that each value in a mask stands for."""
        ids = {value: id_ for id_, value in enumerate(self.values)}
        return ids | {self.ignore: self.table.ignore_index}

    def ids_of_colours(self) -> Mapping[Colour, int]:
        """Return the label id that each colour in a mask stands for."""
        ids = {colour: id_ for id_, colour in enumerate(self.table.palette)}
        return ids | dict.fromkeys(self.ignore_colours, self.table.ignore_index)


def read_classes(path: Path) -> MaskClasses:
    """Return what a TOML file says of classes; the module's head shows one.

    Raises:
        DataError: it cannot be read, or something in it is unknown, missing or there twice.
    """
    try:
        return _parsed(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}): check --classes") from cause
    except ValueError as cause:  # of TOML, of UTF-8 and of ours
        raise DataError(f"{path} is no list of classes: {cause}") from cause


def _parsed(fields: Mapping[str, Any]) -> MaskClasses:
    _known(fields, "the file", ("name", "ignore", "ignore_colours", "classes"))
    entries = _list(fields.get("classes", []), "classes")
    if not 1 <= len(entries) <= MAX_CLASSES:
        raise ValueError(f"it has {len(entries)} [[classes]], wanted 1 to {MAX_CLASSES}")
    classes = [_parsed_class(place, entry) for place, entry in enumerate(entries)]
    ignore = _byte(fields.get("ignore", 255), "ignore")
    ignored = _list(fields.get("ignore_colours", []), "ignore_colours")
    ignore_colours = tuple(_colour(colour, "ignore_colours") for colour in ignored)
    _once("name", [c.name for c in classes])
    _once("value", [*(c.value for c in classes), ignore])
    _once("colour", [*(c.colour for c in classes), *ignore_colours])
    return MaskClasses(
        name=_name(fields, "the data set", _DATASET_NAME),
        table=ClassTable(
            names=tuple(c.name for c in classes),
            palette=tuple(c.colour for c in classes),
            ignore_index=ignore if ignore >= len(classes) else 255,
        ),
        values=tuple(c.value for c in classes),
        ignore=ignore,
        ignore_colours=ignore_colours,
    )


def _parsed_class(place: int, entry: object) -> _MaskClass:
    what = f"class {place}"
    if not isinstance(entry, dict):
        raise ValueError(f"{what} is {entry!r}, wanted a table [[classes]]")
    _known(entry, what, ("name", "colour", "id"))
    return _MaskClass(
        name=_name(entry, what, _CLASS_NAME),
        colour=_colour(entry.get("colour"), what),
        value=_byte(entry.get("id", place), f"the id of {what}"),
    )


def _known(fields: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    unknown = [field for field in fields if field not in known]
    if unknown:
        raise ValueError(f"{what} has the field {unknown[0]!r}, wanted {', '.join(known)}")


def _name(fields: Mapping[str, Any], what: str, form: re.Pattern[str]) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not form.fullmatch(name):
        raise ValueError(f"the name of {what} is {name!r}, wanted letters, digits, _ and -")
    return name


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {value!r}, wanted a list")
    return value


def _byte(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value <= 255:  # true is an int, but not here
        raise ValueError(f"{what} is {value!r}, wanted 0..255")
    return value


def _colour(value: object, what: str) -> Colour:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"the colour of {what} is {value!r}, wanted [red, green, blue]")
    red, green, blue = (_byte(channel, f"the colour of {what}") for channel in value)
    return red, green, blue


def _once(what: str, values: Iterable[object]) -> None:
    value, times = Counter(values).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the {what} {value!r} is there {times} times, ignored ones counted")
