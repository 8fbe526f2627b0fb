"""Random views of training pictures: what they may change and what not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.config import TrainConfig
from pipeline.learning.augment import augment, mixed
from pipeline.learning.decoding import Sample
from pipeline.learning.normalisation import normalise

IGNORE = 255
AUTHORS = TrainConfig().scale_range
FILL = (10.4, 20.6, 30.5)  # a mean colour, and below it as bytes, the middle to the even one
PADDING = (10, 21, 30)

SIDES = st.integers(8, 40)
SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([AUTHORS, (0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (0.7, 1.3), (1.0, 1.5)])
Scales = tuple[float, float]
Bytes = NDArray[np.uint8]


def view(seen: Sample, scales: Scales, seed: int) -> Sample:
    draw = np.random.default_rng(seed)
    return augment(seen, draw, scale_range=scales, fill=FILL, ignore_index=IGNORE)


def sample(height: int, width: int) -> Sample:
    chance = np.random.default_rng(3)
    image = chance.integers(40, 256, (height, width, 3), dtype=np.uint8)  # above all of PADDING
    label = 50 * chance.integers(0, 5, (height, width), dtype=np.uint8)  # no mixture is a label
    for pixels in (image, label):
        pixels.flags.writeable = False  # as they come from a split
    return Sample(image, label)


def coordinates(height: int, width: int) -> tuple[Bytes, Bytes]:
    """Return (H, W) the row and the column of every pixel."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return rows, columns


def grey(values_HW: Bytes) -> Bytes:
    return np.stack([values_HW] * 3, axis=2)


def equal(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_has_the_size_and_type_of_its_picture(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    image, label = view(sample(height, width), scales, seed)

    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert (label.shape, label.dtype) == ((height, width), np.uint8)


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_has_no_label_that_its_picture_lacks(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    whole = sample(height, width)
    _, seen = view(whole, scales, seed)

    assert set(np.unique(seen)) <= {*np.unique(whole.label_HW), IGNORE}


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_is_padded_with_the_mean_colour_exactly_where_it_is_ignored(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    image, label = view(sample(height, width), scales, seed)

    np.testing.assert_array_equal((image == PADDING).all(axis=2), label == IGNORE)
    assert not (image == PADDING).any(axis=2)[label != IGNORE].any()


def test_padding_is_nothing_to_the_network_up_to_the_rounding_of_a_byte() -> None:
    image, label = view(sample(16, 20), (0.5, 0.5), seed=0)
    seen = normalise(torch.from_numpy(image).permute(2, 0, 1), FILL, (1.0, 1.0, 1.0))

    assert float(seen[:, torch.from_numpy(label == IGNORE)].abs().max()) <= 0.5


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_picture_and_label_stay_aligned(height: int, width: int, scales: Scales, seed: int) -> None:
    """A picture of its own coordinates stays within half a pixel of labels that hold them.

    At the edge of a picture made smaller, a quarter more: the filter has one side to take from.
    """
    fine = 6  # levels to a pixel, so that a byte's rounding is a twelfth of one
    for coordinate in coordinates(height, width):
        image, label = view(Sample(grey(fine * coordinate), coordinate), scales, seed)
        inside = label != IGNORE
        apart = np.abs(image[..., 0] / fine - label.astype(float))
        is_edge = (label < 2) | (label > coordinate.max() - 2)
        assert inside.any()
        assert (apart <= np.where(is_edge, 0.75, 0.5) + 0.5 / fine + 1e-3)[inside].all()


def test_without_scaling_a_view_is_its_picture_or_its_mirror_image() -> None:
    whole = sample(12, 15)
    mirrored = Sample(whole.image_HWC[:, ::-1], whole.label_HW[:, ::-1])
    plain = flipped = 0
    for seed in range(100):
        seen = view(whole, (1.0, 1.0), seed)
        plain += equal(seen, whole)
        flipped += equal(seen, mirrored)

    assert plain + flipped == 100
    assert 30 <= plain <= 70


def test_a_small_view_lies_top_left_with_padding_right_and_below() -> None:
    _, label = view(sample(16, 20), (0.5, 0.5), seed=0)
    inside = np.zeros((16, 20), dtype=bool)
    inside[:8, :10] = True

    np.testing.assert_array_equal(label != IGNORE, inside)


@pytest.mark.parametrize("size", [(16, 20), (32, 40)])
def test_an_enlarged_view_has_no_padding(size: tuple[int, int]) -> None:
    _, label = view(sample(*size), (2.0, 2.0), seed=0)

    assert not (label == IGNORE).any()


def test_an_enlarged_view_of_an_odd_size_has_no_padding() -> None:
    _, label = view(sample(9, 13), (2.0, 2.0), seed=0)

    assert not (label == IGNORE).any()


def test_views_come_in_the_authors_sixteen_scales() -> None:
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8), (8, 240))
    label = ramp // 128  # two halves
    seen = set()
    for seed in range(400):
        image, _ = view(Sample(grey(ramp), label), AUTHORS, seed)
        # Any view holds columns 20 to 100 in its inside: 80 of its pixels span 80 / scale levels.
        seen.add(round(80 / abs(int(image[0, 100, 0]) - int(image[0, 20, 0])), 1))

    assert seen == {n / 10 for n in range(5, 21)}


def test_an_enlarged_view_may_be_cut_from_anywhere() -> None:
    rows, columns = coordinates(16, 16)
    image = np.stack((rows, columns, rows), axis=2)
    views = [view(Sample(image, rows), (2.0, 2.0), seed)[0] for seed in range(200)]
    tops = {int(seen[..., 0].min()) for seen in views}
    lefts = {int(seen[..., 1].min()) for seen in views}

    assert tops == lefts == set(range(9))


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_a_view_is_a_function_of_its_draw(seed: int) -> None:
    whole = sample(16, 20)

    assert equal(view(whole, AUTHORS, seed), view(whole, AUTHORS, seed))


def test_other_draws_give_other_views() -> None:
    whole = sample(16, 20)
    views = {view(whole, AUTHORS, seed).image_HWC.tobytes() for seed in range(20)}

    assert len(views) > 15


def test_the_picture_itself_is_left_as_it_was() -> None:
    whole = Sample(*(pixels.copy() for pixels in sample(16, 20)))
    for seed in range(10):
        view(whole, AUTHORS, seed)

    assert equal(whole, sample(16, 20))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_pictures_are_normalised_per_channel(shape: tuple[int, ...]) -> None:
    image = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)

    out = normalise(image.to(torch.uint8), mean, std)

    for channel in range(3):
        expected = (image[..., channel, :, :].double() - mean[channel]) / std[channel]
        torch.testing.assert_close(out[..., channel, :, :], expected.float())


def mix(seen: Sample, other: Sample, seed: int, share: float = 1.0) -> Sample:
    return mixed(seen, other, np.random.default_rng(seed), share=share, ignore_index=IGNORE)


def striped(labels: list[int]) -> tuple[Sample, Sample]:
    """Return a grey picture of one class, and a picture with a column for each label."""
    label = np.array([labels] * 3, dtype=np.uint8)
    plain = Sample(grey(np.full_like(label, 7)), np.full_like(label, 9))
    return plain, Sample(grey(label), label)


@given(SEEDS, st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_half_the_classes_of_another_picture_lie_over_one_whole(
    seed: int, labels: list[int]
) -> None:
    plain, other = striped(labels)

    image, label = mix(plain, other, seed)

    over = set(label.ravel().tolist()) - {9}
    assert len(over) == (len(set(labels)) + 1) // 2
    is_over = np.isin(other.label_HW, list(over))
    assert np.array_equal(label, np.where(is_over, other.label_HW, 9))
    assert np.array_equal(image, grey(np.where(is_over, other.label_HW, 7).astype(np.uint8)))


@given(SEEDS)
def test_what_has_no_class_is_laid_over_nothing(seed: int) -> None:
    plain, other = striped([IGNORE, IGNORE, 3])
    _, nothing = striped([IGNORE])

    assert mix(plain, other, seed).label_HW[0].tolist() == [9, 9, 3]
    assert equal(mix(plain, nothing, seed), plain)


def test_the_classes_and_the_pictures_that_are_mixed_are_drawn_anew() -> None:
    plain, other = striped([0, 1, 2, 3])
    labels = [mix(plain, other, seed, share=0.5).label_HW for seed in range(400)]

    untouched = sum(np.array_equal(label, plain.label_HW) for label in labels)
    assert 160 < untouched < 240
    for index in range(4):
        assert 70 < sum(label[0, index] == index for label in labels) < 130


def test_no_share_mixes_nothing() -> None:
    plain, other = striped([0, 1])

    assert all(equal(mix(plain, other, seed, share=0.0), plain) for seed in range(50))
