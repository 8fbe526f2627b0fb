"""Intersection over union from counts, on confusions small enough to check by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learning.metrics import (
    boundary_f1,
    boundary_tolerance,
    class_iou,
    confusion_counts,
    mean_iou,
    pixel_accuracy,
)

IGNORE = 255
SIZE = (60, 80 * 5)  # its diagonal is 404.5, so contours may be 3.03 pixels apart


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


def test_pixel_accuracy_is_the_share_of_hits() -> None:
    assert pixel_accuracy(torch.tensor([[5, 1, 0], [2, 3, 1], [0, 0, 4]])) == pytest.approx(12 / 16)


def test_without_labelled_pixels_there_is_no_accuracy() -> None:
    assert math.isnan(pixel_accuracy(torch.zeros(2, 2, dtype=torch.int64)))


def halves(edge: int) -> torch.Tensor:
    """Return class 0 left of a column and class 1 from there on."""
    label = torch.zeros(SIZE, dtype=torch.uint8)
    label[:, edge:] = 1
    return label


def f1(prediction: torch.Tensor, label: torch.Tensor, num_classes: int = 3) -> list[float]:
    return boundary_f1(prediction, label, num_classes, IGNORE).tolist()


def test_the_tolerance_is_of_the_diagonal() -> None:
    assert boundary_tolerance(300, 400) == pytest.approx(3.75)


def test_equal_labels_have_equal_contours_and_absent_classes_none() -> None:
    assert f1(halves(100), halves(100)) == pytest.approx([1, 1, math.nan], nan_ok=True)


def test_a_picture_of_one_class_has_no_contour() -> None:
    assert all(map(math.isnan, f1(halves(0), halves(0))))


@pytest.mark.parametrize(("shift", "expected"), [(-3, 1), (3, 1), (4, 0), (-4, 0)])
def test_contours_agree_up_to_the_tolerance(shift: int, expected: int) -> None:
    assert f1(halves(100 + shift), halves(100))[:2] == [expected, expected]


def test_a_contour_that_is_not_there_costs_precision() -> None:
    label = halves(100)
    prediction = label.clone()
    prediction[20:30, 300:310] = 0  # a contour of 36 pixels of class 0 inside, 40 of 1 outside
    assert f1(prediction, label)[0] == pytest.approx(2 * (60 / 96) / (60 / 96 + 1))
    assert f1(prediction, label)[1] == pytest.approx(2 * (60 / 100) / (60 / 100 + 1))


def test_a_contour_that_is_missed_costs_recall() -> None:
    label = halves(100)
    label[20:30, 300:310] = 0
    assert f1(halves(100), label)[0] == pytest.approx(2 * (60 / 96) / (60 / 96 + 1))


def test_a_class_that_is_only_predicted_has_zero() -> None:
    prediction = halves(100)
    prediction[20:30, 300:310] = 2
    assert f1(prediction, halves(100))[2] == 0


def test_what_is_predicted_on_ignored_pixels_makes_no_contour() -> None:
    label = halves(100)
    label[20:30, 300:310] = IGNORE
    prediction = halves(100)
    prediction[22:28, 302:308] = 2
    assert f1(prediction, label) == pytest.approx([1, 1, math.nan], nan_ok=True)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31))
def test_boundary_f1_is_what_all_distances_give(seed: int) -> None:
    """Against the definition itself: every contour point's distance to every other one."""
    size = (24, 400)
    chance = torch.Generator().manual_seed(seed)
    patches = torch.randint(0, 3, (2, 1, 2, 20), generator=chance).float()
    guess, truth = torch.nn.functional.interpolate(patches, size=size)[:, 0].to(torch.uint8)
    guess = torch.where(torch.rand(size, generator=chance) < 0.9, truth, guess)
    for k, score in enumerate(f1(guess, truth)):
        distances = torch.cdist(contour_points(guess, k), contour_points(truth, k))
        near = distances <= boundary_tolerance(*size)
        precision, recall = (float(near.any(dim).double().mean()) for dim in (1, 0))
        assert score == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)


def contour_points(ids: torch.Tensor, k: int) -> torch.Tensor:
    """Return (n, 2) where a pixel of class k has another class beside, above or below it."""
    inside = torch.nn.functional.pad((ids == k).float()[None], (1, 1, 1, 1), mode="replicate")[0]
    neighbours = (inside[1:-1, 2:], inside[1:-1, :-2], inside[2:, 1:-1], inside[:-2, 1:-1])
    return torch.nonzero((ids == k) & (sum(neighbours) < 4)).double()
