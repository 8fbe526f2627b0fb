"""Pictures in, labels out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.folder import Folder
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import WEIGHTS_FILE, Deployment, save_weights

ARCHITECTURE = Architecture(num_classes=3, num_blocks_2=1, num_blocks_3=2, widths=(8, 16, 32))
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def make_model() -> CGNet:
    torch.manual_seed(2)
    return CGNet(ARCHITECTURE).eval()


@pytest.fixture
def segmenter(tmp_path: Path, folder_at: Callable[[Path], Folder]) -> Segmenter:
    deployment = Deployment(ARCHITECTURE, MEAN, STD, ("a", "b", "c"), [(0, 0, 0)] * 3)
    save_weights(folder_at(tmp_path), make_model(), deployment)
    return Segmenter.from_bytes((tmp_path / WEIGHTS_FILE).read_bytes())


def pictures(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def test_labels_are_the_likeliest_classes_of_the_normalised_pictures(segmenter: Segmenter) -> None:
    images = pictures(32, 24)
    inputs = torch.from_numpy((images - np.array(MEAN)) / np.array(STD)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = make_model()(inputs.float())
    best = logits.topk(2, dim=1).values
    clear = (best[:, 0] - best[:, 1]).numpy() > 1e-4  # closer ones may fall either way

    labels = segmenter.label(images)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], logits.argmax(1).numpy()[clear])


@pytest.mark.parametrize("size", [(32, 24), (33, 47), (8, 8)])
def test_a_label_has_the_size_of_its_picture(segmenter: Segmenter, size: tuple[int, int]) -> None:
    labels = segmenter.label(pictures(*size))

    assert (labels.shape, labels.dtype) == ((2, *size), np.uint8)


def test_a_view_of_an_array_is_labelled_like_its_copy(segmenter: Segmenter) -> None:
    mirrored = pictures(16, 24)[:, :, ::-1]

    np.testing.assert_array_equal(segmenter.label(mirrored), segmenter.label(mirrored.copy()))


def test_what_is_no_weights_file_is_refused() -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        Segmenter.from_bytes(b"garbage")
