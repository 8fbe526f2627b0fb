"""Generated street scenes: the same for ever, complete, and labelled as painted."""

import hashlib

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.sources.camvid import CamVidClass
from pipeline.sources.source import LabelledImage
from pipeline.sources.streets.source import Streets

# Change these only together with GENERATOR_VERSION.
GOLDEN = {
    ("train", "000000"): "aa9e835f975891a7c62bb9a57eff1e1af2ae70ed001483fb6c484d1852d68cd6",
    ("val", "000041"): "9f50fafc82ba51314daed9354e7ff4b0371138e4a6cd50d1d66efbc661f236d7",
}


def sha256(sample: LabelledImage) -> str:
    return hashlib.sha256(sample.image_HWC.tobytes() + sample.label_HW.tobytes()).hexdigest()


@pytest.mark.parametrize(("split", "key"), GOLDEN)
def test_a_sample_is_the_same_bytes_for_ever(split: str, key: str) -> None:
    source = Streets(image_size=(96, 128))

    assert GOLDEN[split, key] == sha256(source.read(split, key))


def test_a_sample_depends_on_nothing_read_before() -> None:
    source = Streets()
    first = sha256(source.read("train", "000003"))
    source.read("val", "000001")

    assert first == sha256(source.read("train", "000003"))


def test_keys_seeds_and_splits_each_give_another_scene() -> None:
    source, other = Streets(), Streets(seed=1)
    hashes = {
        *(sha256(source.read("train", key)) for key in source.keys()["train"][:8]),
        *(sha256(source.read("val", key)) for key in source.keys()["val"][:8]),
        *(sha256(other.read("train", key)) for key in other.keys()["train"][:8]),
    }

    assert len(hashes) == 24


def test_more_samples_leave_the_first_ones_as_they_are() -> None:
    few, many = Streets(num_train=4), Streets(num_train=4000)

    assert sha256(few.read("train", "000002")) == sha256(many.read("train", "000002"))


def test_keys_list_as_many_samples_as_asked_for() -> None:
    assert Streets(num_train=2, num_val=1).keys() == {
        "train": ("000000", "000001"),
        "val": ("000000",),
    }


@pytest.mark.parametrize(("split", "key"), [("test", "000000"), ("val", "000096"), ("val", "1")])
def test_an_unknown_sample_is_named(split: str, key: str) -> None:
    with pytest.raises(DataError, match=f"no sample {split}/{key}"):
        Streets().read(split, key)


@pytest.mark.parametrize("image_size", [(96, 128), (16, 16), (360, 480), (70, 333)])
def test_image_and_label_have_the_size_asked_for(image_size: tuple[int, int]) -> None:
    sample = Streets(image_size=image_size).read("train", "000001")

    assert (*image_size, 3) == sample.image_HWC.shape
    assert image_size == sample.label_HW.shape
    assert np.uint8 == sample.image_HWC.dtype == sample.label_HW.dtype


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_class_appears_with_a_share_like_camvids(split: str) -> None:
    source = Streets()
    pixels = np.zeros(12, dtype=np.int64)
    for key in source.keys()[split][:48]:
        label_HW = source.read(split, key).label_HW
        pixels += np.bincount(label_HW.ravel(), minlength=12)

    shares = pixels / pixels.sum()
    assert len(shares) == 12
    assert (shares > 0.002).all()
    assert 0.8 > shares[[0, 1, 3]].sum() > 0.6
    assert 0.01 < shares[11] < 0.08


def test_the_same_scene_is_shown_at_every_size() -> None:
    small = Streets(image_size=(96, 128)).read("train", "000005").label_HW
    large = Streets(image_size=(192, 256)).read("train", "000005").label_HW

    assert (small == large[1::2, 1::2]).mean() > 0.9


def test_a_picture_shows_what_its_label_says() -> None:
    """Sky is brighter than road where both are lit alike, over any few scenes together."""
    source = Streets()
    samples = [source.read("train", key) for key in source.keys()["train"][:12]]
    sky, road = (
        np.mean([s.image_HWC[s.label_HW == label].mean() for s in samples])
        for label in (CamVidClass.SKY, CamVidClass.ROAD)
    )

    assert sky > road + 30


def test_road_and_pavement_cannot_be_told_by_their_grey() -> None:
    source = Streets()
    labelled = [source.read("train", key) for key in source.keys()["train"][:40]]
    samples = [s for s in labelled if (s.label_HW == CamVidClass.PAVEMENT).any()]
    pavement_is_brighter = [
        s.image_HWC[s.label_HW == CamVidClass.PAVEMENT].mean()
        > s.image_HWC[s.label_HW == CamVidClass.ROAD].mean()
        for s in samples
    ]

    assert 0.25 < np.mean(pavement_is_brighter) < 0.75


def test_the_fingerprint_follows_the_fields() -> None:
    variants = (
        Streets(),
        Streets(seed=1),
        Streets(num_train=10),
        Streets(num_val=10),
        Streets(image_size=(128, 96)),
    )

    assert Streets().fingerprint() == Streets().fingerprint()
    assert len(variants) == len({variant.fingerprint() for variant in variants})


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Streets(seed=-1)
    with pytest.raises(ValueError, match="16 pixels"):
        Streets(image_size=(8, 128))
