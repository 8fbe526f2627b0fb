"""The data sets that can be asked for by name, and what each wants to be told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DataError, UsageError
from pipeline.sources.camvid import CamVid
from pipeline.sources.cityscapes import Cityscapes
from pipeline.sources.classes import read_classes
from pipeline.sources.folder import PlainFolder
from pipeline.sources.source import Source
from pipeline.sources.streets.source import Streets


@dataclass(frozen=True)
class SourceRequest:
    """A data set as a user asks for it: its kind, and what there is to say about it.

    Attributes:
        name: of the kind.
        root: folder that holds images and labels.
        classes: TOML file of the classes.
        val_fraction: share of the samples for validation.
    """

    name: str
    root: Path | None = None
    classes: Path | None = None
    val_fraction: float | None = None


_OPTIONS = {"root": "--source", "classes": "--classes", "val_fraction": "--val-fraction"}


def _open_camvid(request: SourceRequest) -> Source:
    _takes_only(request, "root")
    return CamVid(_needed(request.root, "camvid needs --source DIR, with train/ and trainannot/"))


def _open_cityscapes(request: SourceRequest) -> Source:
    _takes_only(request, "root")
    wanted = "cityscapes needs --source DIR, with leftImg8bit/ and gtFine/"
    return Cityscapes(_needed(request.root, wanted))


def _open_folder(request: SourceRequest) -> Source:
    wanted = "folder needs --source DIR, with images/ and masks/, and --classes FILE, a TOML file"
    root, classes = _needed(request.root, wanted), _needed(request.classes, wanted)
    fraction = request.val_fraction
    if fraction is not None and not 0 < fraction < 1:
        raise UsageError(f"--val-fraction is {fraction}, wanted between 0 and 1, such as 0.2")
    mask_classes = read_classes(classes)
    if mask_classes.name in SOURCES:
        raise DataError(
            f"{classes} names the data set {mask_classes.name!r}, which is another kind's name: "
            "choose one of your own"
        )
    return PlainFolder(root, mask_classes, fraction)


def _open_streets(request: SourceRequest) -> Source:
    _takes_only(request)
    return Streets()


SOURCES: Mapping[str, Callable[[SourceRequest], Source]] = {
    "camvid": _open_camvid,
    "cityscapes": _open_cityscapes,
    "folder": _open_folder,
    "streets": _open_streets,
}


def open_source(request: SourceRequest) -> Source:
    """Return the data set that is asked for.

    Raises:
        UsageError: there is none of that name, or the request lacks what it wants, or has more.
        DataError: the file of the classes is not what it should be.
    """
    if request.name not in SOURCES:
        known = ", ".join(sorted(SOURCES))
        raise UsageError(f"there is no data set {request.name!r}: use one of {known}")
    return SOURCES[request.name](request)


def _takes_only(request: SourceRequest, *fields: str) -> None:
    for field, option in _OPTIONS.items():
        value = getattr(request, field)
        if value is not None and field not in fields:
            raise UsageError(
                f"{request.name} does not go with {option}, got {value}: leave out {option}"
            )


def _needed(value: Path | None, wanted: str) -> Path:
    if value is None:
        raise UsageError(wanted)
    return value
