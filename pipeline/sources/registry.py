"""The data sets that can be asked for by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.sources.camvid import CamVid
from pipeline.sources.source import Source
from pipeline.sources.streets.source import Streets


def _open_streets(root: Path | None) -> Source:
    if root is not None:
        raise UsageError(
            f"streets is generated and reads no folder, got {root}: leave out --source"
        )
    return Streets()


def _open_camvid(root: Path | None) -> Source:
    if root is None:
        raise UsageError("camvid needs --source DIR, the folder that holds train/ and trainannot/")
    return CamVid(root)


SOURCES: Mapping[str, Callable[[Path | None], Source]] = {
    "camvid": _open_camvid,
    "streets": _open_streets,
}


def open_source(name: str, root: Path | None) -> Source:
    """Return the data set of that name.

    Raises:
        UsageError: no such data set, or a folder is missing or not wanted.
    """
    if name not in SOURCES:
        raise UsageError(f"there is no data set {name!r}: use one of {', '.join(sorted(SOURCES))}")
    return SOURCES[name](root)
