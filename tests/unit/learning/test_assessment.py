"""A finished network on a split: the counts of the training's own evaluation, and contours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError
from pipeline.learning.assessment import Assessment, assess, check_classes
from pipeline.learning.cgnet import CGNet
from pipeline.learning.context import LocalContext
from pipeline.learning.evaluation import evaluate
from pipeline.learning.folder import Folder
from pipeline.learning.metrics import boundary_f1
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import Deployment

Data = Any  # the value that the write_dataset fixture gives


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Data]) -> Data:
    return write_dataset(tmp_path_factory.mktemp("data"), train=1, val=5)


@pytest.fixture
def segmenter(data: Data) -> Segmenter:
    torch.manual_seed(0)
    architecture = Architecture(3, num_blocks_2=1, num_blocks_3=2, widths=(8, 16, 32))
    model = CGNet(architecture)
    model.train()(torch.randn(2, 3, 32, 32))
    info = data.info
    classes = info.classes
    deployment = Deployment(architecture, info.mean, info.std, classes.names, classes.palette)
    return Segmenter(model.eval(), deployment)


def silent(done: int, total: int) -> None:
    """Tell nobody."""


def test_the_counts_are_those_of_the_training(
    segmenter: Segmenter, data: Data, tmp_path: Path, folder_at: Callable[[Path], Folder]
) -> None:
    dataset = data.open()
    val = dataset.split("val")
    context = LocalContext(folder_at(tmp_path), (dataset, val, val))
    expected = evaluate(segmenter.model, val, dataset, context)

    assessment = assess(segmenter, val, dataset.info.classes, silent)
    assert assessment.num_pictures == 5
    assert int((assessment.confusion_KK - expected).abs().sum()) <= 0.001 * int(expected.sum())


def test_the_networks_own_normalisation_is_used(segmenter: Segmenter, data: Data) -> None:
    """A network may be measured on other data than it was trained on."""
    dataset = data.open()
    val, classes = dataset.split("val"), dataset.info.classes
    other = replace(segmenter, deployment=replace(segmenter.deployment, mean=(0.0, 0.0, 0.0)))

    ours, theirs = (assess(s, val, classes, silent).confusion_KK for s in (segmenter, other))
    assert not torch.equal(ours, theirs)


def test_contours_are_scored_picture_by_picture(segmenter: Segmenter, data: Data) -> None:
    dataset = data.open()
    val, classes = dataset.split("val"), dataset.info.classes
    image, label = val[3]
    prediction = segmenter.label(image[None])[0]
    told: list[tuple[int, int]] = []

    assessment = assess(segmenter, val, classes, lambda *counts: told.append(counts))
    counted = (torch.from_numpy(prediction), torch.tensor(label), 3, classes.ignore_index)
    expected = boundary_f1(*counted)
    torch.testing.assert_close(assessment.boundary_f1_NK[3], expected, equal_nan=True)
    assert told == [(n, 5) for n in range(1, 6)]


def test_the_mean_over_contours_is_of_pictures_and_skips_what_is_not_there() -> None:
    nan = torch.nan
    scores = torch.tensor([[1.0, 0.5, nan], [0.25, nan, nan], [nan, nan, nan]])
    assessment = Assessment(torch.eye(3, dtype=torch.int64), scores)

    assert assessment.mean_boundary_f1 == pytest.approx((0.75 + 0.25) / 2)
    assert assessment.class_boundary_f1[:2] == pytest.approx((0.625, 0.5))


def test_a_data_set_of_other_classes_is_refused(segmenter: Segmenter, data: Data) -> None:
    check_classes(segmenter, data.info.classes)

    with pytest.raises(UsageError, match=r"3 classes .*ground, wall, sky.* 3 .*sky, wall, ground"):
        check_classes(segmenter, replace(data.info.classes, names=("sky", "wall", "ground")))
