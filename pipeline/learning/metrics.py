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
    truth, guess = (_contours(ids_HW, ignore_index) for ids_HW in (label_HW, guess_HW))
    radius = boundary_tolerance(*label_HW.shape)
    precision_K, num_guessed_K = _share_near(guess, truth, num_classes, radius)
    recall_K, num_true_K = _share_near(truth, guess, num_classes, radius)
    f1_K = 2 * precision_K * recall_K / (precision_K + recall_K).clamp(min=1e-12)
    return torch.where(num_guessed_K + num_true_K > 0, f1_K, torch.nan)


def boundary_tolerance(height: int, width: int) -> float:
    """Return how far apart contours may be to agree, in pixels."""
    return BOUNDARY_TOLERANCE * math.hypot(height, width)


def _contours(ids_HW: Tensor, ignore_index: int) -> Tensor:
    """Return (H, W) the class id of each contour pixel, -1 elsewhere."""
    on_contour_HW = torch.zeros_like(ids_HW, dtype=torch.bool)
    for dim in (0, 1):
        length = ids_HW.shape[dim] - 1
        before, after = (ids_HW.narrow(dim, start, length) for start in (0, 1))
        changes = (before != after) & (before != ignore_index) & (after != ignore_index)
        on_contour_HW.narrow(dim, 0, length).logical_or_(changes)
        on_contour_HW.narrow(dim, 1, length).logical_or_(changes)
    return torch.where(on_contour_HW, ids_HW.short(), -1)


def _share_near(
    points_HW: Tensor, others_HW: Tensor, num_classes: int, radius: float
) -> tuple[Tensor, Tensor]:
    """Return (K,) the share of a class's points that have one of the others near, and their number.

    The few points that are on contours are looked at, nearest neighbours first, instead of widening
    whole pictures by a disk: at Cityscapes' size that takes a hundredth of the time.
    """
    reach = int(radius)
    padded_HW = F.pad(others_HW, (reach, reach, reach, reach), value=-1)
    row, column = torch.nonzero(points_HW >= 0, as_tuple=True)
    ids = points_HW[row, column].long()
    num_points_K = torch.bincount(ids, minlength=num_classes)
    for dy, dx in _disk(radius):
        alone = padded_HW[row + (reach + dy), column + (reach + dx)] != ids
        row, column, ids = row[alone], column[alone], ids[alone]
    num_near_K = num_points_K - torch.bincount(ids, minlength=num_classes)
    return num_near_K.double() / num_points_K.clamp(min=1), num_points_K


def _disk(radius: float) -> list[tuple[int, int]]:
    """Return the steps (dy, dx) of at most ``radius``, shortest first."""
    reach = range(-int(radius), int(radius) + 1)
    steps = [(dy, dx) for dy in reach for dx in reach if math.hypot(dy, dx) <= radius]
    return sorted(steps, key=lambda step: math.hypot(*step))
