"""Evaluation: every labelled pixel of a split once, and the network left as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.errors import CorruptSample, DataError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import Dataset
from pipeline.learning.evaluation import evaluate
from pipeline.learning.folder import Folder
from pipeline.learning.metrics import confusion_counts
from pipeline.learning.normalisation import normalise

Data = Any  # the value that the write_dataset fixture gives


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Data]) -> Data:
    """Eleven samples to evaluate: a batch of eight and one of three."""
    return write_dataset(tmp_path_factory.mktemp("data"), train=1, val=11)


@pytest.fixture
def context(data: Data, tmp_path: Path, folder_at: Callable[[Path], Folder]) -> LocalContext:
    dataset = data.open()
    return LocalContext(
        folder_at(tmp_path), (dataset, dataset.split("train"), dataset.split("val"))
    )


@pytest.fixture
def model() -> CGNet:
    """Return a network in training, whose batch norms do not have their first statistics."""
    torch.manual_seed(0)
    model = CGNet(Architecture(num_classes=3, num_blocks_2=1, num_blocks_3=2, widths=(8, 16, 32)))
    model.train()(torch.randn(2, 3, 32, 32))
    return model


def confusion_of(model: CGNet, context: LocalContext) -> torch.Tensor:
    dataset, _, val = context.data
    return evaluate(model, val, dataset, context)


def test_each_labelled_pixel_is_counted_once(
    model: CGNet, data: Data, context: LocalContext
) -> None:
    confusion = confusion_of(model, context)

    truth = np.stack([label for _, label in data.samples["val"]])
    assert confusion.sum(dim=1).tolist() == [int((truth == k).sum()) for k in range(3)]


def test_the_counts_are_those_of_one_picture_after_another(
    model: CGNet, data: Data, context: LocalContext
) -> None:
    info, val = data.info, context.data[2]
    one_by_one = torch.zeros(3, 3, dtype=torch.int64)
    model.eval()
    with torch.inference_mode():
        for index in range(len(val)):
            image_HWC, label_HW = (torch.from_numpy(part.copy()) for part in val[index])
            image_CHW = image_HWC.permute(2, 0, 1)
            logits = model(normalise(image_CHW, info.mean, info.std)[None])
            one_by_one += confusion_counts(
                logits.argmax(1)[0], label_HW, 3, info.classes.ignore_index
            )

    apart = (confusion_of(model.train(), context) - one_by_one).abs().sum()
    assert int(apart) <= 0.001 * int(one_by_one.sum())  # the order of sums may tip a close pixel


def test_evaluation_changes_nothing_in_the_network(model: CGNet, context: LocalContext) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}

    confusion_of(model, context)

    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def damage(data: Data, keys: list[str]) -> Dataset:
    """Flip a byte of samples where they lie; return the data set as it opens then."""
    for record in data.records:
        if record.key in keys:
            path = data.root / record.shard
            content = bytearray(path.read_bytes())
            content[record.label_offset + 40] ^= 1
            path.write_bytes(content)
    dataset: Dataset = data.open()
    return dataset


@pytest.fixture
def own_data(tmp_path: Path, write_dataset: Callable[..., Data]) -> Data:
    return write_dataset(tmp_path / "own", train=1, val=11)


def test_a_corrupt_sample_fails_the_evaluation_by_name(
    model: CGNet, own_data: Data, context: LocalContext
) -> None:
    dataset = damage(own_data, ["val-9"])

    with pytest.raises(CorruptSample, match=r"sample val-9 in .* is damaged"):
        evaluate(model, dataset.split("val"), dataset, context)


def test_a_skipped_sample_is_left_out_of_the_counts(
    model: CGNet, own_data: Data, context: LocalContext
) -> None:
    dataset = damage(own_data, ["val-0", "val-9"])
    val = dataset.split("val", skip_corrupt=True)

    confusion = evaluate(model, val, dataset, context)

    labels = [label for i, (_, label) in enumerate(own_data.samples["val"]) if i not in (0, 9)]
    truth = np.stack(labels)
    assert confusion.sum(dim=1).tolist() == [int((truth == k).sum()) for k in range(3)]
    assert [message.split()[1] for message in val.corrupt] == ["val-0", "val-9"]


def test_a_score_of_no_sample_at_all_is_an_error(
    model: CGNet, own_data: Data, context: LocalContext
) -> None:
    dataset = damage(own_data, [record.key for record in own_data.records])
    val = dataset.split("val", skip_corrupt=True)

    with pytest.raises(DataError, match=r"no labelled pixel of the val split .* sample val-0 in"):
        evaluate(model, val, dataset, context)
