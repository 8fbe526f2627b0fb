"""The description of a data set: written, read, refused, weighed."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable, DatasetInfo, class_weights

CAMVID_LABELS = Path(__file__).parents[4] / "shared" / "data" / "CamVid" / "trainannot"

# Computed from the train split's labels: Sky, Building, Pole, Road, Pavement, Tree, SignSymbol,
# Fence, Car, Pedestrian, Bicyclist.
CAMVID_WEIGHTS = (
    *(4.1112, 3.3982, 9.5630, 2.7980, 7.3049, 5.4540, 9.4029, 9.4412, 6.6961, 9.8676, 10.1971),
)

INFO = DatasetInfo(
    name="squares",
    fingerprint="0123abcd",
    classes=ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), ignore_index=255),
    num_samples={"train": 4, "val": 2},
    image_size=(32, 48),
    mean=(72.39, 82.91, 73.16),
    std=(71.5, 72.25, 70.125),
    class_weights=(1.5, 9.25),
)


def fields() -> dict[str, Any]:
    return dict(json.loads(INFO.to_json()))


def test_a_description_reads_back_equal() -> None:
    assert DatasetInfo.from_json(INFO.to_json()) == INFO


def test_a_description_reads_back_equal_from_bytes() -> None:
    assert DatasetInfo.from_json(INFO.to_json().encode()) == INFO


def test_the_ignored_label_is_no_class() -> None:
    assert INFO.classes.num_classes == 2


def test_another_schema_version_is_refused_with_both_versions() -> None:
    text = replace(INFO, schema_version=2).to_json()

    with pytest.raises(DataError, match=r"schema version 2.*reads 1.*preprocess"):
        DatasetInfo.from_json(text)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"PK\x03\x04", "{", "null", "[]", "7", '"text"', "{}"],
    ids=repr,
)
def test_what_is_no_description_is_refused(content: str | bytes) -> None:
    with pytest.raises(DataError, match="preprocess again"):
        DatasetInfo.from_json(content)


@pytest.mark.parametrize("name", sorted(set(fields()) - {"image_encoding"}))
def test_a_missing_field_is_refused(name: str) -> None:
    incomplete = fields()
    del incomplete[name]

    with pytest.raises(DataError, match=name):
        DatasetInfo.from_json(json.dumps(incomplete))


@pytest.mark.parametrize(
    "change",
    [
        {"classes": []},
        {"classes": {"names": ["a"], "palette": [[1, 2]], "ignore_index": 255}},
        {"classes": {"names": ["a"], "palette": [[1, 2, "x"]], "ignore_index": 255}},
        {"mean": 7},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="preprocess again"):
        DatasetInfo.from_json(json.dumps(fields() | change))


@pytest.mark.skipif(not CAMVID_LABELS.is_dir(), reason="the CamVid labels are not on this machine")
def test_the_weights_of_camvid_are_those_of_its_real_labels() -> None:
    counts = np.zeros(256, dtype=np.int64)
    for path in sorted(CAMVID_LABELS.glob("*.png")):
        with Image.open(path) as label:
            counts += np.bincount(np.asarray(label).ravel(), minlength=256)

    assert class_weights(counts[:11].tolist()) == pytest.approx(CAMVID_WEIGHTS, abs=1e-3)


def test_a_class_that_never_occurs_has_the_greatest_weight() -> None:
    """1 / ln(1.10) is 10.492, and 1 / ln(2.10) is 1.348."""
    assert class_weights([0, 5]) == pytest.approx((10.492, 1.348), abs=1e-3)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20), st.integers(2, 1000))
def test_weights_depend_on_shares_only(pixels: list[int], factor: int) -> None:
    many = class_weights([factor * n for n in pixels])

    assert many == pytest.approx(class_weights(pixels))


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20).filter(any))
def test_a_rarer_class_never_weighs_less(pixels: list[int]) -> None:
    weights = class_weights(pixels)
    rarest_first = sorted(range(len(pixels)), key=pixels.__getitem__)

    assert all(map(math.isfinite, weights))
    assert [weights[i] for i in rarest_first] == sorted(weights, reverse=True)


def test_a_split_without_a_labelled_pixel_is_refused() -> None:
    with pytest.raises(DataError, match="no labelled pixel"):
        class_weights([0, 0, 0])
