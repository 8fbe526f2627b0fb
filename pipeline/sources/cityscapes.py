"""Cityscapes as it is downloaded: ``leftImg8bit/<split>/<city>/`` and ``gtFine/<split>/<city>/``.

Labels are read from ``*_gtFine_labelIds.png``, or where there are none, from the
``*_gtFine_labelTrainIds.png`` that cityscapesScripts make of them. The test split is left out: its
labels are withheld, and the files under their name say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable
from pipeline.sources.labels import ids_from_values
from pipeline.sources.pairs import (
    PairedFolders,
    endings_by_stem,
    fingerprint,
    require_folders,
)
from pipeline.sources.pictures import labelled, read_image, read_label
from pipeline.sources.source import LabelledImage

CITYSCAPES_CLASSES = ClassTable(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    ignore_index=255,
)

# The label id of each class, which is what the benchmark's server wants.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

_SPLITS = ("train", "val")
_IMAGE_ENDING = "_leftImg8bit.png"
_IDS_ENDING = "_gtFine_labelIds.png"
_TRAIN_IDS_ENDING = "_gtFine_labelTrainIds.png"

_IGNORE = CITYSCAPES_CLASSES.ignore_index
_CLASS_OF_ID = dict.fromkeys(range(256), _IGNORE) | {id_: k for k, id_ in enumerate(LABEL_IDS)}
_CLASS_OF_TRAIN_ID = {k: k for k in (*range(CITYSCAPES_CLASSES.num_classes), _IGNORE)}


@dataclass(frozen=True)
class Cityscapes:
    """The data set under ``root``, with the 19 classes of the benchmark."""

    root: Path

    @property
    def name(self) -> str:
        """Return "cityscapes"."""
        return "cityscapes"

    @property
    def classes(self) -> ClassTable:
        """Return the 19 classes that the benchmark scores."""
        return CITYSCAPES_CLASSES

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Return the sorted keys, such as ``aachen/aachen_000000_000019``, of train and val.

        Raises:
            DataError: a folder is missing or empty, images and labels do not pair up, or only
                some labels are there as label ids.
        """
        return {split: folders.keys() for split, folders in self._splits().items()}

    def fingerprint(self) -> str:
        """Return a hash over the names, sizes and times of all images and the labels in use.

        Raises:
            DataError: as ``keys``.
        """
        return fingerprint(self._splits(), (CITYSCAPES_CLASSES, LABEL_IDS))

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one sample at full size; what is none of the 19 classes is ignored.

        Raises:
            DataError: a file is missing, damaged or too large, the sizes of image and label
                differ, or train ids are not those of the benchmark.
        """
        folders = self._folders(split, (_IDS_ENDING, _TRAIN_IDS_ENDING))
        image_path, label_path = folders.paths(key)
        ids = _CLASS_OF_ID if label_path.name.endswith(_IDS_ENDING) else _CLASS_OF_TRAIN_ID
        label_HW = ids_from_values(read_label(label_path), ids, label_path)
        return labelled(read_image(image_path), label_HW, label_path)

    def _splits(self) -> Mapping[str, PairedFolders]:
        require_folders(self.root, "leftImg8bit", "gtFine")
        ending = self._label_ending()
        return {split: self._folders(split, (ending,)) for split in _SPLITS}

    def _folders(self, split: str, label_endings: tuple[str, ...]) -> PairedFolders:
        return PairedFolders(
            self.root / "leftImg8bit" / split,
            self.root / "gtFine" / split,
            image_endings=(_IMAGE_ENDING,),
            label_endings=label_endings,
        )

    def _label_ending(self) -> str:
        """Return the kind of label to read: one for all, so that no class is half one, half other.

        Raises:
            DataError: there are no labels, or label ids for some and train ids for others.
        """
        ids, train_ids = (
            {
                f"{split}/{stem}"
                for split in _SPLITS
                for stem in endings_by_stem(self.root / "gtFine" / split, (ending,))
            }
            for ending in (_IDS_ENDING, _TRAIN_IDS_ENDING)
        )
        wanted = f"wanted *{_IDS_ENDING} or *{_TRAIN_IDS_ENDING} for every image"
        if not ids and not train_ids:
            raise DataError(
                f"{self.root / 'gtFine'} holds no labels for train and val, {wanted}: unpack gtFine"
            )
        if ids and (alone := train_ids - ids):
            raise DataError(
                f"{self.root / 'gtFine'} mixes label ids and train ids: {len(alone)} of "
                f"{len(ids | train_ids)} labels are train ids alone (first: {min(alone)}), "
                f"{wanted}: unpack gtFine again"
            )
        return _IDS_ENDING if ids else _TRAIN_IDS_ENDING
