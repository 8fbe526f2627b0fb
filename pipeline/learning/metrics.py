"""Segmentation metrics from confusion counts, which add up over batches and ranks."""

import torch
from torch import Tensor


def confusion_counts(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Return (K, K) int64 counts, rows the truth, columns the prediction.

    Args:
        prediction: class ids, any shape.
        label: class ids of the same shape; pixels of ``ignore_index`` count nowhere.
        num_classes: K.
        ignore_index: see ``label``.
    """
    valid = label != ignore_index
    pairs = label[valid].long() * num_classes + prediction[valid].long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def class_iou(confusion_KK: Tensor) -> Tensor:
    """Return (K,) intersection over union; nan for a class in neither truth nor prediction."""
    hits = confusion_KK.diagonal().double()
    union = confusion_KK.sum(0).double() + confusion_KK.sum(1).double() - hits
    return torch.where(union > 0, hits / union, torch.nan)


def mean_iou(confusion_KK: Tensor) -> float:
    """Return the mean of ``class_iou`` over the classes that occur, 0 to 1.

    A class that occurs and is never hit counts as 0. Leaving it out, as the authors' evaluation
    does, overstates a network early in its training.
    """
    return float(class_iou(confusion_KK).nanmean())
