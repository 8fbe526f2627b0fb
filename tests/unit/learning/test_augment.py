"""Random views of training pictures: what they may change and what not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.core.config import TrainConfig
from pipeline.learning.augment import augment, normalise

IGNORE = 255
AUTHORS = TrainConfig().scale_range

SIDES = st.integers(8, 40)
SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([AUTHORS, (0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (0.7, 1.3), (1.0, 1.5)])
Scales = tuple[float, float]


def view(image: Tensor, label: Tensor, scales: Scales, seed: int) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(seed)
    return augment(image, label, TrainConfig(scale_range=scales), IGNORE, draw)


def sample(height: int, width: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(3)
    image = 1 + torch.rand(3, height, width, generator=chance)  # above 0, the padding's value
    return image, torch.randint(0, 5, (height, width), generator=chance).to(torch.uint8)


def coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return (H, W) the row and the column of every pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return rows, columns


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_has_the_size_and_type_of_its_picture(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    image, label = view(*sample(height, width), scales, seed)

    assert (image.shape, image.dtype) == ((3, height, width), torch.float32)
    assert (label.shape, label.dtype) == ((height, width), torch.uint8)


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_has_no_label_that_its_picture_lacks(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    image, label = sample(height, width)
    _, seen = view(image, label, scales, seed)

    assert set(seen.unique().tolist()) <= {*label.unique().tolist(), IGNORE}


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_a_view_is_padded_with_nothing_exactly_where_it_is_ignored(
    height: int, width: int, scales: Scales, seed: int
) -> None:
    image, label = view(*sample(height, width), scales, seed)

    assert torch.equal((image == 0).all(dim=0), label == IGNORE)


@settings(deadline=None)
@given(SIDES, SIDES, SCALES, SEEDS)
def test_picture_and_label_stay_aligned(height: int, width: int, scales: Scales, seed: int) -> None:
    """A picture of its own coordinates stays within half a pixel of labels that hold them."""
    rows, columns = coordinates(height, width)
    image = torch.stack((rows, columns, rows)).float()
    for channel, coordinate in enumerate((rows, columns)):
        seen, label = view(image, coordinate.to(torch.uint8), scales, seed)
        inside = label != IGNORE
        apart = (seen[channel] - label.float())[inside].abs()
        assert inside.any()
        assert float(apart.max()) <= 0.5 + 1e-3


def test_without_scaling_a_view_is_its_picture_or_its_mirror_image() -> None:
    image, label = sample(12, 15)
    plain = flipped = 0
    for seed in range(100):
        seen, seen_label = view(image, label, (1.0, 1.0), seed)
        plain += torch.equal(seen, image) and torch.equal(seen_label, label)
        flipped += torch.equal(seen, image.flip(-1)) and torch.equal(seen_label, label.flip(-1))

    assert plain + flipped == 100
    assert 30 <= plain <= 70


def test_a_small_view_lies_top_left_with_padding_right_and_below() -> None:
    _, label = view(*sample(16, 20), (0.5, 0.5), seed=0)
    inside = torch.zeros(16, 20, dtype=torch.bool)
    inside[:8, :10] = True

    assert torch.equal(label != IGNORE, inside)


@pytest.mark.parametrize("size", [(16, 20), (32, 40)])
def test_an_enlarged_view_has_no_padding(size: tuple[int, int]) -> None:
    _, label = view(*sample(*size), (2.0, 2.0), seed=0)

    assert not (label == IGNORE).any()


def test_an_enlarged_view_of_an_odd_size_has_no_padding() -> None:
    _, label = view(*sample(9, 13), (2.0, 2.0), seed=0)

    assert not (label == IGNORE).any()


def test_views_come_in_the_authors_sixteen_scales() -> None:
    _, columns = coordinates(8, 480)
    image = columns.expand(3, 8, 480).float()
    seen = set()
    for seed in range(400):
        view_CHW, _ = view(image, columns.to(torch.uint8), AUTHORS, seed)
        # Both views of half the width and whole ones hold columns 100 and 101 in their inside.
        seen.add(round(1 / abs(float(view_CHW[0, 0, 101] - view_CHW[0, 0, 100])), 1))

    assert seen == {n / 10 for n in range(5, 21)}


def test_an_enlarged_view_may_be_cut_from_anywhere() -> None:
    rows, columns = coordinates(16, 16)
    image = torch.stack((rows, columns, rows)).float()
    least = [view(image, rows.to(torch.uint8), (2.0, 2.0), seed)[0] for seed in range(200)]
    tops = {round(float(seen[0].min())) for seen in least}
    lefts = {round(float(seen[1].min())) for seen in least}

    assert tops == lefts == set(range(9))


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_a_view_is_a_function_of_its_draw(seed: int) -> None:
    image, label = sample(16, 20)
    one, other = (view(image, label, AUTHORS, seed) for _ in range(2))

    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_other_draws_give_other_views() -> None:
    image, label = sample(16, 20)
    views = {view(image, label, AUTHORS, seed)[0].numpy().tobytes() for seed in range(20)}

    assert len(views) > 15


def test_the_picture_itself_is_left_as_it_was() -> None:
    image, label = sample(16, 20)
    before = image.clone(), label.clone()
    for seed in range(10):
        view(image, label, AUTHORS, seed)

    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_pictures_are_normalised_per_channel(shape: tuple[int, ...]) -> None:
    image = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)

    out = normalise(image.to(torch.uint8), mean, std)

    for channel in range(3):
        expected = (image[..., channel, :, :].double() - mean[channel]) / std[channel]
        torch.testing.assert_close(out[..., channel, :, :], expected.float())
