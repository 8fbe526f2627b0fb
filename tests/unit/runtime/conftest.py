"""A tiny source, and data sets of it written without a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.manifest import ClassTable
from pipeline.sources.source import LabelledImage

CLASSES = ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), ignore_index=255)


@dataclass(frozen=True)
class Squares:
    """Pictures of one grey; the label says which half of the greys, its first row nothing."""

    sizes: tuple[tuple[int, int], ...] = ((8, 16),)
    num_train: int = 3
    num_val: int = 1
    name: str = "squares"
    classes: ClassTable = CLASSES

    def keys(self) -> Mapping[str, Sequence[str]]:
        return {
            "train": [f"{i:03d}" for i in range(self.num_train)],
            "val": [f"{i:03d}" for i in range(self.num_val)],
        }

    def fingerprint(self) -> str:
        return f"{self.sizes} {self.num_train} {self.num_val}"

    def read(self, split: str, key: str) -> LabelledImage:
        grey = 200 if split == "val" else 100 * (int(key) % 2)
        size = self.sizes[int(key) % len(self.sizes)]
        label = np.full(size, grey // 100 > 0, dtype=np.uint8)
        label[0] = 255
        return LabelledImage(np.full((*size, 3), grey, dtype=np.uint8), label)


@pytest.fixture(scope="session")
def squares() -> type[Squares]:
    """Return the class of the tiny source."""
    return Squares


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a folder for a data set, which does not exist yet."""
    return tmp_path / "out"
