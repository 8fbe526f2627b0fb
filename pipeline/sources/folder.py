"""Anybody's images and masks: ``images/`` and ``masks/`` with the same paths below them.

With ``train/`` and ``val/`` in both, or without splits and a share of the samples for validation.
``test/``, where it is there, is the test split in either case and nothing else.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable
from pipeline.sources.classes import MaskClasses
from pipeline.sources.labels import ids_from_colours, ids_from_values
from pipeline.sources.pairs import IMAGE_ENDINGS, PairedFolders, fingerprint, require_folders
from pipeline.sources.pictures import labelled, read_image, read_mask
from pipeline.sources.source import LabelledImage

_TEST = "test"
_POOL = ""  # of the samples that a fraction divides


@dataclass(frozen=True)
class PlainFolder:
    """The data set under ``root``.

    Attributes:
        root: folder that holds images/ and masks/.
        mask_classes: what is in the masks.
        val_fraction: share of the samples for validation, in 0..1 without its ends; None where
            train/ and val/ say which is which.
    """

    root: Path
    mask_classes: MaskClasses
    val_fraction: float | None = None

    @property
    def name(self) -> str:
        """Return the name in the file of the classes."""
        return self.mask_classes.name

    @property
    def classes(self) -> ClassTable:
        """Return the classes of the file."""
        return self.mask_classes.table

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Return the sorted keys of each split.

        Raises:
            DataError: a folder is missing, empty or not wanted, images and masks do not pair up,
                or train or val would get no sample.
        """
        keys = {split: folders.keys() for split, folders in self._splits().items()}
        if self.val_fraction is None:
            return keys
        train: list[str] = []
        val: list[str] = []
        for key in keys.pop(_POOL):
            (val if share_of_key(key) < self.val_fraction else train).append(key)
        if not train or not val:
            raise DataError(
                f"{self.root} has {len(train)} samples for train and {len(val)} for val by the "
                f"fraction {self.val_fraction}, wanted some for both: change --val-fraction"
            )
        return {"train": train, "val": val} | keys

    def fingerprint(self) -> str:
        """Return a hash over the names, sizes and times of all files, classes and fraction.

        Raises:
            DataError: as ``keys``.
        """
        return fingerprint(self._splits(), (self.mask_classes, self.val_fraction))

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one sample at full size.

        Raises:
            DataError: a file is missing, damaged or too large, the sizes of image and mask differ,
                or the mask holds a value or colour that the classes do not have.
        """
        image_path, mask_path = self._folders(split).paths(key)
        mask = read_mask(mask_path)
        if mask.ndim == 3:
            label_HW = ids_from_colours(mask, self.mask_classes.ids_of_colours(), mask_path)
        else:
            label_HW = ids_from_values(mask, self.mask_classes.ids_of_values(), mask_path)
        return labelled(read_image(image_path), label_HW, mask_path)

    def _splits(self) -> Mapping[str, PairedFolders]:
        """Return the folders of each split, those of train and val together for a fraction."""
        require_folders(self.root, "images", "masks")
        if self.val_fraction is None:
            self._require_splits()
            splits = ["train", "val"]
        elif self._has("val"):
            raise DataError(f"{self.root} has a val split already: leave out --val-fraction")
        else:
            splits = [_POOL]
        if self._has(_TEST):
            splits.append(_TEST)
        return {split: self._folders(split) for split in splits}

    def _has(self, split: str) -> bool:
        return any((self.root / kind / split).is_dir() for kind in ("images", "masks"))

    def _folders(self, split: str) -> PairedFolders:
        images, masks = self.root / "images", self.root / "masks"
        if self.val_fraction is not None and split != _TEST:
            return PairedFolders(images, masks, except_folder=_TEST)
        return PairedFolders(images / split, masks / split)

    def _require_splits(self) -> None:
        if not (self._has("train") and self._has("val")):
            raise DataError(
                f"{self.root / 'images'} is not split into train/ and val/: make these in images/ "
                "and masks/, or give --val-fraction, such as 0.2"
            )
        passed_over = sorted(
            path
            for kind in ("images", "masks")
            for path in (self.root / kind).iterdir()
            if path.name not in ("train", "val", _TEST) and not path.name.startswith(".")
            if path.is_dir() or path.name.endswith(IMAGE_ENDINGS)
        )
        if passed_over:
            raise DataError(
                f"{passed_over[0]} is in none of train/, val/ and test/: move it into one, or away"
            )


def share_of_key(key: str) -> float:
    """Return a number in 0..1 that is the key's own.

    A sample is for validation if it is below the fraction: so which are does not depend on what
    other samples there are, and a larger fraction takes none back.
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
