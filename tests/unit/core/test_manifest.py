"""``dataset.json`` and the class weights of the loss."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable, DatasetInfo, class_weights

CAMVID = Path(__file__).parents[4] / "shared" / "data" / "CamVid"

# Share of the pixels of CamVid's train split, in hundredths of a percent, Sky to Bicyclist.
CAMVID_SHARES = (1685, 2326, 98, 3166, 449, 972, 117, 113, 587, 64, 29)
CAMVID_WEIGHTS = (
    4.1112,
    3.3982,
    9.5630,
    2.7980,
    7.3049,
    5.4540,
    9.4029,
    9.4412,
    6.6961,
    9.8676,
    10.1971,
)

INFO = DatasetInfo(
    name="tiny",
    fingerprint="0123456789",
    generation="9876543210",
    classes=ClassTable(("sky", "road"), ((0, 0, 255), (128, 64, 128)), ignore_index=255),
    num_samples={"train": 3, "val": 1},
    image_size=(12, 16),
    mean=(1.5, 2.5, 3.5),
    std=(10.0, 20.0, 30.0),
    class_pixels=(100, 20),
    class_weights=(1.25, 4.5),
)


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(INFO.to_json()) | fields)


def without(name: str) -> str:
    fields = json.loads(INFO.to_json())
    del fields[name]
    return json.dumps(fields)


def test_weights_of_camvids_rounded_shares_are_the_published_ones() -> None:
    assert class_weights(CAMVID_SHARES) == pytest.approx(CAMVID_WEIGHTS, abs=0.02)


@pytest.mark.skipif(
    not CAMVID.is_dir(), reason="CamVid is not beside the repository, in shared/data/CamVid"
)
def test_weights_of_camvids_labels_are_the_published_ones() -> None:
    pixels = np.zeros(12, dtype=np.int64)
    for path in sorted((CAMVID / "trainannot").glob("*.png")):
        with Image.open(path) as label:
            pixels += np.bincount(np.asarray(label).ravel(), minlength=12)

    assert class_weights(pixels[:11].tolist()) == pytest.approx(CAMVID_WEIGHTS, abs=1e-3)


def test_a_class_without_pixels_weighs_most_and_finitely() -> None:
    assert class_weights([0, 7]) == pytest.approx((1 / math.log(1.1), 1 / math.log(2.1)))


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=20))
def test_a_rarer_class_never_weighs_less(pixels: list[int]) -> None:
    weights = class_weights(sorted(pixels))

    assert list(weights) == sorted(weights, reverse=True)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.integers(2, 1000))
def test_weights_depend_on_shares_alone(pixels: list[int], factor: int) -> None:
    enlarged = class_weights([count * factor for count in pixels])

    assert enlarged == pytest.approx(class_weights(pixels), rel=1e-9)


@pytest.mark.parametrize("pixels", [[], [0], [0, 0, 0]])
def test_a_split_without_labels_is_refused(pixels: list[int]) -> None:
    with pytest.raises(DataError, match="no labelled pixel"):
        class_weights(pixels)


def test_the_ignored_value_is_no_class() -> None:
    assert INFO.classes.num_classes == 2


def test_json_gives_the_description_back() -> None:
    assert DatasetInfo.from_json(INFO.to_json()) == INFO


def test_the_bytes_of_the_json_give_the_description_back() -> None:
    assert DatasetInfo.from_json(INFO.to_json().encode()) == INFO


def test_the_json_is_a_text_file() -> None:
    assert INFO.to_json().endswith("}\n")


def test_another_schema_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"schema version 1, .* reads 2: run preprocess again"):
        DatasetInfo.from_json(changed(schema_version=1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        b"\xff\xfe\x00garbage",
        "null",
        "[]",
        "3",
        "{}",
        '{"schema_version": 2}',
        INFO.to_json()[:-20],
        without("classes"),
        without("mean"),
        without("fingerprint"),
        without("schema_version"),
        changed(surprise=1),
        changed(classes=None),
        changed(classes={"names": ["a"], "palette": [[1, 2]], "ignore_index": 255}),
        changed(mean=4),
        changed(mean=[1, 2, 3, 4]),
        changed(std=["1", 2, 3]),
        changed(image_size=[0, 4]),
        changed(num_samples=[1]),
        changed(class_weights=[float("nan"), 1.0]),
        changed(generation="\udcff"),
        "[" * 100_000,
    ],
    ids=repr,
)
def test_what_is_no_description_is_refused_with_what_to_do(text: str | bytes) -> None:
    with pytest.raises(DataError, match=r"dataset\.json cannot be read .* run preprocess again"):
        DatasetInfo.from_json(text)
