"""What a data set says of itself, folded from its parts one by one in stored order."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable, DatasetInfo, class_weights
from pipeline.runtime.parts import Part
from pipeline.runtime.pictures import ChannelSums


class Totals:
    """Sums over the parts added so far; of a fixed size however many there are."""

    def __init__(self, classes: ClassTable) -> None:
        self._classes = classes
        self._content = hashlib.sha256(json.dumps(asdict(classes)).encode())
        self._num_samples: Counter[str] = Counter()
        self._sizes: set[tuple[int, int]] = set()
        self._encodings: set[str] = set()
        self._channels = ChannelSums()
        self._class_pixels = np.zeros(classes.num_classes + 1, dtype=np.int64)

    def add(self, part: Part) -> None:
        """Count the next part of the stored order in.

        Raises:
            DataError: the pictures differ in size or encoding from those before.
        """
        columns = [part.records.column(name).to_pylist() for name in ("split", "key", "sha256")]
        for sample in zip(*columns, strict=True):
            self._content.update("\0".join((*sample, "")).encode())
        self._num_samples.update(columns[0])
        self._sizes |= part.sizes
        require_one_size(self._sizes)
        self._encodings.add(part.encoding)
        if len(self._encodings) > 1:
            raise DataError(
                f"the pictures are {' and '.join(sorted(self._encodings))}, wanted one encoding "
                "in a data set: encode them alike"
            )
        if columns[0][0] == "train":
            counts = part.records.column("class_pixels").combine_chunks().flatten().to_numpy()
            self._channels += part.channels
            self._class_pixels += counts.reshape(-1, len(self._class_pixels)).sum(axis=0)

    def describe(self, name: str, generation: str) -> DatasetInfo:
        """Return the data set's description; its statistics are over the train split alone.

        Raises:
            DataError: there is no train split, or nothing in it is labelled.
        """
        if not self._channels.pixels:
            raise DataError(f"{name} has no train split: nothing to learn from")
        class_pixels = self._class_pixels[:-1].tolist()
        mean, std = _mean_and_std(self._channels)
        return DatasetInfo(
            name=name,
            fingerprint=self._content.hexdigest()[:12],
            generation=generation,
            classes=self._classes,
            num_samples=dict(self._num_samples),
            image_size=next(iter(self._sizes)),
            mean=mean,
            std=std,
            class_pixels=tuple(class_pixels),
            class_weights=class_weights(class_pixels),
            image_encoding=next(iter(self._encodings)),
        )


def require_one_size(sizes: Collection[tuple[int, int]]) -> None:
    """Make sure that all pictures have one (height, width).

    Raises:
        DataError: they have not.
    """
    if len(sizes) > 1:
        smallest, largest = (f"{height}x{width}" for height, width in (min(sizes), max(sizes)))
        raise DataError(
            f"the pictures have several sizes, from {smallest} to {largest}: choose one with "
            "--image-size HEIGHTxWIDTH"
        )


Triple = tuple[float, float, float]


def _mean_and_std(channels: ChannelSums) -> tuple[Triple, Triple]:
    means, deviations = [], []
    for total, squares in zip(channels.sums, channels.squares, strict=True):
        mean = total / channels.pixels
        means.append(round(mean, 4))
        # A channel without spread is left as it is: at least 1.
        deviations.append(
            max(round(math.sqrt(max(squares / channels.pixels - mean**2, 0)), 4), 1.0)
        )
    return _triple(means), _triple(deviations)


def _triple(values: list[float]) -> Triple:
    red, green, blue = values
    return red, green, blue
