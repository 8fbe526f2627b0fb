"""All that a split tells of a finished network: regions, pixels and contours.

N pictures, K classes, H height, W width, B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.core.errors import UsageError
from pipeline.core.manifest import ClassTable
from pipeline.learning.metrics import (
    boundary_f1,
    class_iou,
    confusion_counts,
    mean_iou,
    pixel_accuracy,
)
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.split import Split


@dataclass(frozen=True)
class Assessment:
    """What was counted, and the figures that come of it."""

    confusion_KK: Tensor
    boundary_f1_NK: Tensor

    @property
    def num_pictures(self) -> int:
        """Return how many pictures were labelled."""
        return len(self.boundary_f1_NK)

    @property
    def mean_iou(self) -> float:
        """Return the mean over the classes that occur, of counts over the whole split."""
        return mean_iou(self.confusion_KK)

    @property
    def class_iou(self) -> tuple[float, ...]:
        """Return the IoU of each class; nan for one that does not occur."""
        return tuple(class_iou(self.confusion_KK).tolist())

    @property
    def pixel_accuracy(self) -> float:
        """Return the share of labelled pixels that got their class."""
        return pixel_accuracy(self.confusion_KK)

    @property
    def mean_boundary_f1(self) -> float:
        """Return the mean over pictures of the mean over the classes with a contour there."""
        return float(self.boundary_f1_NK.nanmean(dim=1).nanmean())

    @property
    def class_boundary_f1(self) -> tuple[float, ...]:
        """Return the mean of each class over the pictures where it has a contour."""
        return tuple(self.boundary_f1_NK.nanmean(dim=0).tolist())


def check_classes(segmenter: Segmenter, classes: ClassTable) -> None:
    """Make sure that network and data set mean the same by a class id.

    Raises:
        UsageError: they do not.
    """
    ours, theirs = segmenter.deployment.class_names, classes.names
    if ours != theirs:
        raise UsageError(
            f"the network has {len(ours)} classes ({', '.join(ours[:4])}, ...), the data set "
            f"{len(theirs)} ({', '.join(theirs[:4])}, ...): choose the --dataset it was trained for"
        )


@torch.inference_mode()
def assess(
    segmenter: Segmenter, split: Split, classes: ClassTable, progress: Callable[[int, int], None]
) -> Assessment:
    """Label a split picture by picture, with the network's own normalisation.

    Args:
        segmenter: the network; its classes must be those of the split.
        split: labelled pictures.
        classes: of the split.
        progress: told how many pictures of how many are done.
    """
    confusion_KK = torch.zeros(classes.num_classes, classes.num_classes, dtype=torch.int64)
    contours = []
    for index in range(len(split)):
        image_HWC, label_HW = split[index]
        labels_BHW = segmenter.label(image_HWC[None].copy())  # torch wants what it may write to
        truth, prediction = torch.tensor(label_HW), torch.from_numpy(labels_BHW[0])
        counted = (prediction, truth, classes.num_classes, classes.ignore_index)
        confusion_KK += confusion_counts(*counted)
        contours.append(boundary_f1(*counted))
        progress(index + 1, len(split))
    return Assessment(confusion_KK, torch.stack(contours))
