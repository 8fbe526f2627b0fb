"""Intersection over union from counts, on confusions small enough to check by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learning.metrics import class_iou, confusion_counts, mean_iou

IGNORE = 255


def test_counts_have_the_truth_in_rows_and_the_prediction_in_columns() -> None:
    label = torch.tensor([[0, 0, 1], [2, 2, 1]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 1, 1], [2, 0, 1]])

    assert confusion_counts(prediction, label, 3, IGNORE).tolist() == [
        [1, 1, 0],
        [0, 2, 0],
        [1, 0, 1],
    ]


@pytest.mark.parametrize("ignore", [255, 2, 3])
def test_ignored_pixels_count_nowhere(ignore: int) -> None:
    label = torch.tensor([0, 1, ignore, ignore], dtype=torch.uint8)
    prediction = torch.tensor([0, 0, 0, 1])

    assert confusion_counts(prediction, label, 2, ignore).tolist() == [[1, 0], [1, 0]]


def test_only_ignored_pixels_give_no_counts() -> None:
    label = torch.full((4, 4), IGNORE, dtype=torch.uint8)

    assert confusion_counts(torch.zeros(4, 4), label, 2, IGNORE).tolist() == [[0, 0], [0, 0]]


def test_class_iou_is_hits_over_union() -> None:
    confusion = torch.tensor([[5, 1, 0], [2, 3, 1], [0, 0, 4]])

    assert class_iou(confusion).tolist() == pytest.approx([5 / 8, 3 / 7, 4 / 5])


def test_mean_iou_is_the_mean_over_classes() -> None:
    confusion = torch.tensor([[5, 1, 0], [2, 3, 1], [0, 0, 4]])

    assert mean_iou(confusion) == pytest.approx((5 / 8 + 3 / 7 + 4 / 5) / 3)


def test_a_class_in_neither_truth_nor_prediction_is_nan() -> None:
    assert math.isnan(class_iou(torch.tensor([[3, 0], [0, 0]]))[1])


def test_a_class_in_neither_truth_nor_prediction_is_left_out_of_the_mean() -> None:
    assert mean_iou(torch.tensor([[3, 1, 0], [1, 3, 0], [0, 0, 0]])) == pytest.approx(3 / 5)


def test_a_class_that_is_never_hit_counts_as_zero() -> None:
    """The authors' evaluation leaves it out, which flatters a network early in its training."""
    assert mean_iou(torch.tensor([[6, 0], [2, 0]])) == pytest.approx((6 / 8 + 0) / 2)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    assert mean_iou(torch.tensor([[6, 2], [0, 0]])) == pytest.approx((6 / 8 + 0) / 2)


def test_without_any_class_the_mean_is_nan() -> None:
    assert math.isnan(mean_iou(torch.zeros(3, 3, dtype=torch.int64)))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 5))
def test_counts_of_batches_add_up_to_those_of_the_whole(
    seed: int, num_batches: int, num_classes: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    shape = (2 * num_batches, 3, 4)
    label = torch.randint(0, num_classes + 1, shape, generator=chance)
    prediction = torch.randint(0, num_classes, shape, generator=chance)

    parts = [
        confusion_counts(p, t, num_classes, num_classes)
        for p, t in zip(prediction.split(2), label.split(2), strict=True)
    ]
    whole = confusion_counts(prediction, label, num_classes, num_classes)
    assert torch.equal(torch.stack(parts).sum(0), whole)
    assert int(whole.sum()) == int((label != num_classes).sum())
