"""What a data set says of itself: its classes, its samples, its statistics.

A data set is a folder (local or on S3). ``dataset.json`` in it is written last and names the
generation folder that holds ``manifest.parquet`` and the shards: without it there is no data set.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pipeline.core.errors import DataError
from pipeline.core.fields import colours, count, counts, counts_by_name, numbers, text, texts

SCHEMA_VERSION = 2
DATASET_FILE = "dataset.json"
MANIFEST_FILE = "manifest.parquet"

# The most that is read or decoded anywhere: no camera of a street scene makes more.
MAX_PIXELS = 64_000_000
MAX_MEMBER_BYTES = 64 << 20

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """The classes of a labelled data set, by label id.

    ``ignore_index`` is the one label value that is no class; it counts nowhere.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int

    @property
    def num_classes(self) -> int:
        """Return how many classes there are, the ignored one not counted."""
        return len(self.names)


class SampleRecord(NamedTuple):
    """One image with its label, and where in which shard their bytes lie.

    ``class_pixels`` counts the label's pixels per class id, ignored pixels last.
    ``sha256`` is over the image's bytes followed by the label's, as stored.
    """

    key: str
    split: str
    shard: str
    image_offset: int
    image_bytes: int
    label_offset: int
    label_bytes: int
    height: int
    width: int
    class_pixels: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class DatasetInfo:
    """``dataset.json``: all that training needs to know apart from the samples.

    Attributes:
        name: of the data set.
        fingerprint: over every sample's key, split and bytes, and the classes: data sets of one
            fingerprint are the same to a training, wherever and whenever they were made.
        generation: folder below this one that holds the manifest, and the shards written with it.
        classes: what label ids mean.
        num_samples: per split.
        image_size: (height, width) of every picture.
        mean: per RGB channel in 0..255 over the train split's pixels.
        std: likewise; at least 1.
        class_pixels: of the train split, per class id.
        class_weights: of the loss, see ``class_weights``.
        image_encoding: of the pictures in the shards: png, jpeg or webp. Labels are always PNG.
        schema_version: of this file and the manifest.
    """

    name: str
    fingerprint: str
    generation: str
    classes: ClassTable
    num_samples: Mapping[str, int]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_pixels: tuple[int, ...]
    class_weights: tuple[float, ...]
    image_encoding: str = "png"
    schema_version: int = SCHEMA_VERSION

    @property
    def kind(self) -> str:
        """Return the part of the name before a picture size."""
        return dataset_kind(self.name)

    def to_json(self) -> str:
        """Return the text of ``dataset.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "DatasetInfo":
        """Read what ``to_json`` wrote.

        Raises:
            DataError: the text is no data set description of this schema version.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields["schema_version"] != SCHEMA_VERSION:
                raise DataError(
                    f"{DATASET_FILE} has schema version {fields['schema_version']}, this program "
                    f"reads {SCHEMA_VERSION}: run preprocess again"
                )
            return cls(**fields | _checked(fields))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            raise DataError(
                f"{DATASET_FILE} cannot be read ({cause}): run preprocess again"
            ) from cause


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a description as what they have to be."""
    names = texts(fields["classes"]["names"])
    classes = ClassTable(
        names=names,
        palette=colours(fields["classes"]["palette"], len(names)),
        ignore_index=count(fields["classes"]["ignore_index"]),
    )
    return {
        **{name: text(fields[name]) for name in ("name", "fingerprint", "generation")},
        "image_encoding": text(fields.get("image_encoding", "png")),
        "classes": classes,
        "num_samples": counts_by_name(fields["num_samples"]),
        "image_size": counts(fields["image_size"], 2, least=1),
        **{name: numbers(fields[name], 3) for name in ("mean", "std")},
        "class_pixels": counts(fields["class_pixels"], len(names)),
        "class_weights": numbers(fields["class_weights"], len(names)),
    }


def dataset_kind(name: str) -> str:
    """Return the part of a data set's name before a picture size: ``camvid-120x160`` is camvid."""
    return name.partition("-")[0]


def class_weights(class_pixels: Sequence[int]) -> tuple[float, ...]:
    """Return the loss weight 1 / ln(1.10 + p) of each class.

    Args:
        class_pixels: pixels per class over the train split, the ignored ones left out; p is a
            class's share of their sum.

    Raises:
        DataError: no pixel is labelled.

    Source:
        The authors' training code, with the shares counted per label value.
    """
    total = sum(class_pixels)
    if total == 0:
        raise DataError("the train split has no labelled pixel: check the label files")
    return tuple(1.0 / math.log(1.10 + pixels / total) for pixels in class_pixels)
