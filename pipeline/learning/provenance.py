"""Where a network comes from: kept inside its weights file, so that it never gets lost."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.config import EpochResult, TrialSpec
from pipeline.core.manifest import DatasetInfo


@dataclass(frozen=True)
class Provenance:
    """The training that a network is of, and how well it did at the end of it.

    Attributes:
        dataset: name of the data set.
        fingerprint: of the data set's content.
        image_size: (height, width) it was trained at.
        num_samples: of the data set, per split.
        recipe: the settings of the training, by name.
        seed: of weights, order and augmentation.
        mean_iou: on val after the last epoch, 0 to 1.
        class_iou: likewise per class; None for a class that is not in val.
    """

    dataset: str
    fingerprint: str
    image_size: tuple[int, int]
    num_samples: Mapping[str, int]
    recipe: Mapping[str, Any]
    seed: int
    mean_iou: float
    class_iou: tuple[float | None, ...]

    @classmethod
    def of(cls, spec: TrialSpec, info: DatasetInfo, result: EpochResult) -> "Provenance":
        """Return the provenance of what a training ends with.

        Where the data lay is left out: the file may travel further than the place should be known.
        """
        return cls(
            dataset=info.name,
            fingerprint=info.fingerprint,
            image_size=info.image_size,
            num_samples=dict(info.num_samples),
            recipe=json.loads(spec.to_json())["training"],
            seed=spec.seed,
            mean_iou=result.mean_iou,
            class_iou=tuple(None if math.isnan(iou) else iou for iou in result.class_iou),
        )

    def to_json(self) -> str:
        """Return the provenance as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Read what ``to_json`` wrote."""
        fields: dict[str, Any] = json.loads(text)
        height, width = fields["image_size"]
        return cls(**fields | {"image_size": (height, width), "class_iou": (*fields["class_iou"],)})
