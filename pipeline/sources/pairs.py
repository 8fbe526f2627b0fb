"""Images in one folder, their labels in another: which belong together, and what they are called.

Two files are a pair when their paths below their folders agree up to the ending. A sample's key is
that path with everything but letters, digits, ``_ - ~ /`` as ``%XX`` (its UTF-8 bytes): no dot, so
WebDataset takes all of it for the key, and since it can be turned back no two paths share a key.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

from pipeline.core.errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG", ".WEBP")
LABEL_ENDINGS = (".png", ".PNG")

# Raise it with every change that alters what is read from the same files.
_READER_VERSION = 1


@dataclass(frozen=True)
class PairedFolders:
    """Images below one folder and their labels below another.

    Hidden files and folders are what file managers leave behind ("._0001.png"): they do not count.

    Attributes:
        images: folder of the images.
        labels: folder of the labels.
        image_endings: what the names of images end in; what is before it pairs them.
        label_endings: likewise.
        except_folder: name of a folder at the top of both that is not looked into.
    """

    images: Path
    labels: Path
    image_endings: tuple[str, ...] = IMAGE_ENDINGS
    label_endings: tuple[str, ...] = LABEL_ENDINGS
    except_folder: str = ""

    def keys(self) -> tuple[str, ...]:
        """Return the sorted keys; there is at least one.

        Raises:
            DataError: a folder is missing, empty or cannot be read, or a file has no partner.
        """
        images, _ = self._listed()
        return tuple(sorted(map(key_from_stem, images)))

    def paths(self, key: str) -> tuple[Path, Path]:
        """Return where image and label of a key are; of a missing one, where it should be."""
        stem = stem_from_key(key)
        return (
            _existing(self.images, stem, self.image_endings),
            _existing(self.labels, stem, self.label_endings),
        )

    def identity(self) -> Iterator[str]:
        """Yield name, size and modification time of each file, in an order of their own.

        Raises:
            DataError: as ``keys``.
        """
        for folder, names in zip((self.images, self.labels), self._listed(), strict=True):
            for stem in sorted(names):
                name = f"{stem}{names[stem]}"
                try:
                    status = (folder / name).stat()
                except OSError as cause:
                    _unreadable(cause)
                yield f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0"
            yield "\0"

    def _listed(self) -> tuple[dict[str, str], dict[str, str]]:
        images = endings_by_stem(self.images, self.image_endings, self.except_folder)
        labels = endings_by_stem(self.labels, self.label_endings, self.except_folder)
        for what, folder, names, endings in (
            ("images", self.images, images, self.image_endings),
            ("labels", self.labels, labels, self.label_endings),
        ):
            if not names:
                raise DataError(
                    f"{folder} holds no {what}, wanted at least one named *{endings[0]}: "
                    "copy them there"
                )
        _require_partners("images", self.images, images, "label", self.labels, labels)
        _require_partners("labels", self.labels, labels, "image", self.images, images)
        return images, labels


def fingerprint(splits: Mapping[str, PairedFolders], settings: object) -> str:
    """Return a hash of names, sizes and modification times, and of what else alters a sample.

    Args:
        splits: all folders that samples come from.
        settings: value whose ``repr`` tells apart what gives different samples.

    Raises:
        DataError: as ``PairedFolders.keys``.
    """
    digest = hashlib.sha256(repr((_READER_VERSION, settings)).encode())
    for split, folders in splits.items():
        digest.update(f"{split}\0".encode())
        for text in folders.identity():
            digest.update(os.fsencode(text))
    return digest.hexdigest()


def key_from_stem(stem: str) -> str:
    """Return the key of a path without its ending; ``stem_from_key`` turns it back."""
    key = quote(os.fsencode(stem), safe="/").replace(".", "%2E")
    # WebDataset takes a first folder like "__name__" for its own and passes over it.
    return f"%5F{key[1:]}" if key.startswith("__") else key


def stem_from_key(key: str) -> str:
    """Return the path, without its ending, that a key was made of."""
    return os.fsdecode(unquote_to_bytes(key))


def require_folders(root: Path, *names: str) -> None:
    """Make sure that a data set's root is the right folder.

    Raises:
        DataError: one of the folders is not in it.
    """
    for name in names:
        if not (root / name).is_dir():
            raise DataError(
                f"{root} has no folder {name}/, wanted the folder that holds "
                f"{', '.join(f'{name}/' for name in names)}: check the path"
            )


def endings_by_stem(
    folder: Path, endings: tuple[str, ...], except_folder: str = ""
) -> dict[str, str]:
    """Return each file with one of the endings below a folder: its path up to there, its ending.

    Raises:
        DataError: the folder is missing or cannot be read, has a link to a folder in it, which
            might lead in circles, or two files of one name and different endings.
    """
    found: dict[str, str] = {}
    for where, folders, files in os.walk(folder, onerror=_unreadable):
        above = Path(where).relative_to(folder).as_posix() + "/" if where != str(folder) else ""
        skipped = except_folder if not above else ""
        folders[:] = [name for name in folders if name != skipped and not name.startswith(".")]
        for name in folders:
            if Path(where, name).is_symlink():
                raise DataError(
                    f"{Path(where, name)} is a link to a folder, which is not followed: "
                    "put the folder itself there"
                )
        for name in files:
            ending = next((e for e in endings if name.endswith(e)), None)
            if ending is None or name.startswith("."):
                continue
            stem = above + name.removesuffix(ending)
            if stem in found:
                raise DataError(
                    f"{folder} holds both {stem}{found[stem]} and {stem}{ending}, wanted one of "
                    "the name: remove or rename the other"
                )
            found[stem] = ending
    return found


def _require_partners(
    what: str,
    folder: Path,
    names: Mapping[str, str],
    partner: str,
    partner_folder: Path,
    partner_names: Mapping[str, str],
) -> None:
    alone = [stem for stem in names if stem not in partner_names]
    if alone:
        first = min(alone)
        raise DataError(
            f"{len(alone)} of {len(names)} {what} in {folder} have no {partner} in "
            f"{partner_folder} (first: {first}{names[first]}): add each {partner} under the same "
            f"name or remove the {what}"
        )


def _existing(folder: Path, stem: str, endings: tuple[str, ...]) -> Path:
    first = folder / f"{stem}{endings[0]}"
    if len(endings) == 1 or first.exists():
        return first
    others = (folder / f"{stem}{ending}" for ending in endings[1:])
    return next((path for path in others if path.exists()), first)


def _unreadable(cause: OSError) -> NoReturn:
    raise DataError(f"{cause.filename} cannot be read ({cause.strerror}): check it") from cause
