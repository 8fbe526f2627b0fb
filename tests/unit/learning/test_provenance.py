"""A weights file says what training it is of."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.errors import DataError
from pipeline.learning.cgnet import CGNet
from pipeline.learning.context import LocalContext
from pipeline.learning.folder import Folder
from pipeline.learning.loop import train
from pipeline.learning.provenance import Provenance
from pipeline.learning.weights import (
    WEIGHTS_FILE,
    Deployment,
    load_provenance,
    load_weights,
    pack_weights,
)

ARCHITECTURE = Architecture(3, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
SPEC = TrialSpec(ARCHITECTURE, DataConfig("/home/me/data", "f00d"), TrainConfig(epochs=1), seed=4)


def test_a_training_leaves_its_provenance_in_its_weights(
    tmp_path: Path, folder_at: Callable[[Path], Folder], write_dataset: Callable[..., Any]
) -> None:
    (tmp_path / "data").mkdir()
    dataset = write_dataset(tmp_path / "data", train=8, val=3).open()
    context = LocalContext(
        folder_at(tmp_path / "out"), (dataset, dataset.split("train"), dataset.split("val"))
    )
    (result,) = train(SPEC, context)

    content = (tmp_path / "out" / WEIGHTS_FILE).read_bytes()
    provenance = load_provenance(content)
    assert provenance == Provenance.of(SPEC, dataset.info, result)
    assert provenance
    assert (provenance.dataset, provenance.image_size, provenance.seed) == (
        "patchwork",
        (32, 32),
        4,
    )
    assert provenance.num_samples == {"train": 8, "val": 3}
    assert provenance.recipe["batch_size"] == 8
    assert b"/home/me" not in content, "where data lay on a machine is nobody's business"


def test_a_class_that_is_not_in_val_stays_without_a_figure() -> None:
    result = EpochResult(1, 1, 1.0, 0.5, (0.5, math.nan), 1.0, 1.0)
    provenance = Provenance("d", "f", (2, 3), {"train": 1}, {"epochs": 1}, 0, 0.5, (0.5, None))

    assert Provenance.from_json(provenance.to_json()) == provenance
    assert "NaN" not in provenance.to_json()
    assert result.class_iou[0] == provenance.class_iou[0]
    json.loads(provenance.to_json())


def test_weights_without_provenance_load_all_the_same() -> None:
    deployment = Deployment(ARCHITECTURE, (0.0,) * 3, (1.0,) * 3, ("a", "b", "c"), ((0, 0, 0),) * 3)
    content = pack_weights(CGNet(ARCHITECTURE), deployment)

    assert load_provenance(content) is None
    assert load_weights(content)[1] == deployment


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_weights_file_has_no_provenance(content: bytes) -> None:
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_provenance(content)
