"""What preprocessing needs of a labelled data set, whatever its layout on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.manifest import ClassTable


@dataclass(frozen=True)
class LabelledImage:
    """A picture, uint8 (H, W, 3) RGB, and its label, uint8 (H, W) of class ids."""

    image_HWC: NDArray[np.uint8]
    label_HW: NDArray[np.uint8]


class Source(Protocol):
    """A labelled data set. Instances are values: small, picklable, the same everywhere."""

    @property
    def name(self) -> str:
        """The data set's name, used in its URI and in MLflow."""
        ...

    @property
    def classes(self) -> ClassTable:
        """The classes that labels are ids of."""
        ...

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Return the sample keys of each split, in the order they are stored.

        Raises:
            DataError: the folder is not laid out as this source expects.
        """
        ...

    def fingerprint(self) -> str:
        """Return a hash that changes whenever a sample would, at the price of a stat a file.

        It is over the files' names, sizes and modification times, the classes and all options
        that alter a sample, not over contents: it may change where no sample does, as after a
        copy without times. What a made data set is called by is another, over its contents.

        Raises:
            DataError: as ``keys``.
        """
        ...

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one sample.

        Raises:
            DataError: a file is missing, damaged, or image and label do not match.
        """
        ...
