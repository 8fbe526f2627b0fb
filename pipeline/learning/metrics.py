"""Segmentation metrics: of confusion counts, which add up over batches and ranks, and of contours.

H height, W width, K classes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BOUNDARY_TOLERANCE = 0.0075  # of the picture's diagonal, see ``boundary_f1``


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


def pixel_accuracy(confusion_KK: Tensor) -> float:
    """Return the share of labelled pixels that got their class, 0 to 1; nan without any."""
    return float(confusion_KK.diagonal().sum().double() / confusion_KK.sum().double())


def boundary_f1(
    prediction_HW: Tensor, label_HW: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Return (K,) how well the contours of each class agree in one picture, 0 to 1.

    A contour pixel has a neighbour, above, below, left or right, of another class; next to ignored
    pixels and at the picture's edge there is no contour. Precision is the share of predicted
    contour pixels within ``boundary_tolerance`` of a true one of the same class, recall the
    reverse. A class with a contour on one side only has 0, on neither side nan.

    Source:
        Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic
        segmentation?" (BMVC 2013): one F1 a class and picture, at 0.75 % of the diagonal.
    """
    guess_HW = torch.where(label_HW == ignore_index, label_HW, prediction_HW.to(label_HW.dtype))
    truth_KHW, guess_KHW = (
        _contours(ids_HW, num_classes, ignore_index) for ids_HW in (label_HW, guess_HW)
    )
    radius = boundary_tolerance(*label_HW.shape)
    precision_K = _share_near(guess_KHW, truth_KHW, radius)
    recall_K = _share_near(truth_KHW, guess_KHW, radius)
    f1_K = 2 * precision_K * recall_K / (precision_K + recall_K).clamp(min=1e-12)
    occurs_K = (truth_KHW | guess_KHW).flatten(1).any(dim=1)
    return torch.where(occurs_K, f1_K, torch.nan)


def boundary_tolerance(height: int, width: int) -> float:
    """Return how far apart contours may be to agree, in pixels."""
    return BOUNDARY_TOLERANCE * math.hypot(height, width)


def _contours(ids_HW: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Return (K, H, W) whether a pixel is of a class and on its contour."""
    on_contour_HW = torch.zeros_like(ids_HW, dtype=torch.bool)
    for dim in (0, 1):
        length = ids_HW.shape[dim] - 1
        before, after = (ids_HW.narrow(dim, start, length) for start in (0, 1))
        changes = (before != after) & (before != ignore_index) & (after != ignore_index)
        on_contour_HW.narrow(dim, 0, length).logical_or_(changes)
        on_contour_HW.narrow(dim, 1, length).logical_or_(changes)
    classes_K11 = torch.arange(num_classes, device=ids_HW.device).view(-1, 1, 1)
    return (ids_HW == classes_K11) & on_contour_HW


def _share_near(points_KHW: Tensor, others_KHW: Tensor, radius: float) -> Tensor:
    """Return (K,) the share of points within ``radius`` of another, 0 where there are no points."""
    near = (points_KHW & _widened(others_KHW, radius)).flatten(1).sum(dim=1).double()
    return near / points_KHW.flatten(1).sum(dim=1).clamp(min=1)


def _widened(points_KHW: Tensor, radius: float) -> Tensor:
    """Return which pixels have a point within ``radius``: a dilation by a disk, row by row."""
    height = points_KHW.shape[1]
    widened = torch.zeros_like(points_KHW)
    for dy in range(min(int(radius), height - 1) + 1):
        half = int(math.sqrt(radius**2 - dy**2))
        rows = F.max_pool2d(points_KHW.float(), (1, 2 * half + 1), stride=1, padding=(0, half)) > 0
        widened[:, dy:] |= rows[:, : height - dy]
        widened[:, : height - dy] |= rows[:, dy:]
    return widened
