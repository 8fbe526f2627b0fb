"""Generated street scenes with CamVid's classes: a data set that needs no download.

What a pixel is shows in its surroundings more than in itself: road and pavement are one grey,
walls, vehicles, fences and signs share their colours, and a pole differs from a trunk by its top.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable
from pipeline.sources.camvid import CAMVID_CLASSES
from pipeline.sources.source import LabelledImage
from pipeline.sources.streets.plan import plan_scene
from pipeline.sources.streets.scene import render

# Raise it with every change that alters a sample.
GENERATOR_VERSION = 1

# The place of a split's name seeds its stream: append only.
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class Streets:
    """Generated scenes; a sample follows from seed, split, key and ``image_size`` (H, W) alone."""

    seed: int = 0
    num_train: int = 1536
    num_val: int = 96
    image_size: tuple[int, int] = (72, 96)

    def __post_init__(self) -> None:
        if min(self.seed, self.num_train, self.num_val) < 0:
            raise ValueError("seed, num_train and num_val must not be negative")
        if min(self.image_size) < 16:
            raise ValueError(f"image_size is {self.image_size}, wanted at least 16 pixels a side")

    @property
    def name(self) -> str:
        """Return "streets"."""
        return "streets"

    @property
    def classes(self) -> ClassTable:
        """Return CamVid's 11 classes."""
        return CAMVID_CLASSES

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Return the keys "000000", "000001", ... of both splits."""
        return {split: tuple(map(_key, range(n))) for split, n in self._counts().items()}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the fields and the generator's version."""
        identity = repr((GENERATOR_VERSION, astuple(self)))
        return hashlib.sha256(identity.encode()).hexdigest()

    def read(self, split: str, key: str) -> LabelledImage:
        """Return one scene, drawn anew each time.

        Raises:
            DataError: the split or the key is none of ``keys``.
        """
        index = self._index(split, key)
        seeds = np.random.SeedSequence((self.seed, _SPLITS.index(split), index)).spawn(2)
        plan_rng, pixel_rng = (np.random.Generator(np.random.PCG64(seed)) for seed in seeds)
        return render(plan_scene(plan_rng), self.image_size, pixel_rng)

    def _counts(self) -> dict[str, int]:
        return dict(zip(_SPLITS, (self.num_train, self.num_val), strict=True))

    def _index(self, split: str, key: str) -> int:
        index = int(key) if key.isdecimal() else 0
        if key != _key(index) or index >= self._counts().get(split, 0):
            raise DataError(f"streets has no sample {split}/{key}: use a split and key it lists")
        return index


def _key(index: int) -> str:
    return f"{index:06d}"
