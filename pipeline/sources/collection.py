"""Which pictures somebody means, and what is written of each is called."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.errors import UsageError

_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


def plan_outputs(given: Sequence[Path], output: Path) -> dict[Path, str]:
    """Return each picture with the name, below ``output`` and without ending, of what comes of it.

    A picture of a folder keeps its path in it. No picture lies in ``output``: of a folder those
    there are left out, so that labelling it again does not label what was written before. Nothing
    that is written can therefore replace a picture.

    Args:
        given: pictures, or folders of them.
        output: where files will be written.

    Raises:
        UsageError: nothing to label, a picture in ``output``, or two that would be written as one.
    """
    if not given:
        raise UsageError("no picture is given: name pictures or folders of them")
    home = output.resolve()
    stems: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for path, stem in (found for one in given for found in _found(one, home)):
        if path in stems:
            continue
        if path.resolve().is_relative_to(home):
            raise UsageError(f"{path} lies in the folder to write to: choose another --output")
        if stem in taken:
            raise UsageError(
                f"{taken[stem]} and {path} would both be written as {stem}: label them one by one, "
                "each with an --output of its own"
            )
        stems[path] = stem
        taken[stem] = path
    return stems


def _found(given: Path, home: Path) -> Iterator[tuple[Path, str]]:
    if given.is_file():
        yield given, given.stem
        return
    if not given.is_dir():
        raise UsageError(f"there is no picture {given}: check the path")
    paths = [
        path
        for path in sorted(given.rglob("*"))
        if path.suffix.lower() in _SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")  # what file managers leave behind
        and not path.resolve().is_relative_to(home)
    ]
    if not paths:
        raise UsageError(f"{given} holds no picture to label, wanted PNG, JPEG or WebP files")
    for path in paths:
        yield path, path.relative_to(given).with_suffix("").as_posix()
