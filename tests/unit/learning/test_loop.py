"""A training: repeatable, resumable to the bit, and honest about its loss and score."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.architecture import Architecture
from pipeline.core.config import (
    RECIPES,
    CachePolicy,
    DataConfig,
    EpochResult,
    TrainConfig,
    TrialSpec,
)
from pipeline.core.cost import count_macs, count_parameters
from pipeline.core.errors import CorruptSample, DataError, MachineLeaves, TrialFailed, UsageError
from pipeline.core.peer import Peer
from pipeline.learning import loop
from pipeline.learning.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from pipeline.learning.context import LocalContext
from pipeline.learning.evaluation import evaluate
from pipeline.learning.folder import Folder
from pipeline.learning.loop import label_weight, learning_rate, train, weighted_loss
from pipeline.learning.metrics import mean_iou
from pipeline.learning.weights import WEIGHTS_FILE, load_weights

EPOCHS = 3
SPEC = TrialSpec(
    architecture=Architecture(num_classes=3, num_blocks_2=2, num_blocks_3=2, widths=(8, 16, 32)),
    data=DataConfig("file:///data", "f00dcafe42"),
    training=TrainConfig(epochs=EPOCHS, batch_size=4, learning_rate=1e-2),
    seed=11,
)


@dataclass(frozen=True)
class Run:
    """A training that reached its end, and where it is."""

    path: Path
    context: LocalContext
    results: list[EpochResult]

    @property
    def weights(self) -> bytes:
        return (self.path / WEIGHTS_FILE).read_bytes()


Data = Any  # the value that the write_dataset fixture gives
MakeContext = Callable[[Path], LocalContext]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Data]) -> Data:
    """Ten training samples: two steps of four, two left over. Eleven to evaluate: 8 and 3."""
    return write_dataset(tmp_path_factory.mktemp("data"), train=10, val=11)


@pytest.fixture(scope="module")
def context_at(data: Data, folder_at: Callable[[Path], Folder]) -> MakeContext:
    dataset = data.open()
    parts = (dataset, dataset.split("train"), dataset.split("val"))
    return lambda path: LocalContext(folder_at(path), parts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, context_at: MakeContext) -> Run:
    """Return a training that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole")
    context = context_at(path)
    return Run(path, context, list(train(SPEC, context)))


def stop_after(epochs: int, spec: TrialSpec, context: LocalContext) -> list[EpochResult]:
    training = train(spec, context)
    results = [next(training) for _ in range(epochs)]
    training.close()
    return results


def curve(results: list[EpochResult]) -> list[EpochResult]:
    """Return the results without what the clock says."""
    return [replace(result, train_s=0.0, val_s=0.0, data_wait_s=0.0) for result in results]


def test_a_training_yields_its_epochs_in_turn(whole: Run) -> None:
    epochs = [(r.epoch, r.epochs, r.is_last) for r in whole.results]

    assert epochs == [(1, EPOCHS, False), (2, EPOCHS, False), (3, EPOCHS, True)]


def test_the_last_epoch_says_what_the_network_costs_deployed(whole: Run) -> None:
    image_size = whole.context.data[0].info.image_size
    sizes = [(r.deployed_parameters, r.deployed_macs) for r in whole.results]

    built = count_parameters(SPEC.architecture), count_macs(SPEC.architecture, *image_size)
    assert sizes == [(None, None), (None, None), built], "so few steps kill nothing"


def test_the_same_spec_gives_the_same_curve_and_weights_to_the_bit(
    whole: Run, tmp_path: Path, context_at: MakeContext
) -> None:
    again = list(train(SPEC, context_at(tmp_path)))

    assert curve(again) == curve(whole.results)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == whole.weights


def test_another_seed_gives_another_curve(
    whole: Run, tmp_path: Path, context_at: MakeContext
) -> None:
    other = stop_after(1, replace(SPEC, seed=12), context_at(tmp_path))

    assert other[0].train_loss != whole.results[0].train_loss


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_training_goes_on_to_the_same_curve_and_weights_to_the_bit(
    whole: Run, tmp_path: Path, context_at: MakeContext, epochs: int
) -> None:
    stop_after(epochs, SPEC, context_at(tmp_path))

    resumed = list(train(SPEC, context_at(tmp_path)))

    assert curve(resumed) == curve(whole.results)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == whole.weights


def test_a_training_stopped_at_every_epoch_ends_in_the_same_weights(
    whole: Run, tmp_path: Path, context_at: MakeContext
) -> None:
    for epochs in range(1, EPOCHS + 1):
        stop_after(epochs, SPEC, context_at(tmp_path))

    assert (tmp_path / WEIGHTS_FILE).read_bytes() == whole.weights


@pytest.mark.parametrize("steps", [1, 3])
def test_a_training_killed_within_an_epoch_goes_on_from_there_to_the_bit(
    whole: Run,
    tmp_path: Path,
    context_at: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    taken: list[float] = []
    step = loop._Trainer.step

    def dies(trainer: loop._Trainer, image: Tensor, label: Tensor, rate: float) -> Tensor:
        if len(taken) == steps:
            raise ConnectionResetError
        taken.append(rate)
        return step(trainer, image, label, rate)

    monkeypatch.setattr(loop, "_STEPS_BETWEEN_SAVES", 1)
    with monkeypatch.context() as until_then:
        until_then.setattr(loop._Trainer, "step", dies)
        with pytest.raises(ConnectionResetError):
            list(train(SPEC, context_at(tmp_path)))
    folder = context_at(tmp_path).checkpoints
    killed = load_checkpoint(folder, SPEC)
    assert killed
    save_checkpoint(folder, replace(killed, begun=replace(killed.begun, train_s=1000.0)))
    resumed = list(train(SPEC, context_at(tmp_path)))

    assert (len(killed.results), killed.begun.steps) == divmod(steps, 2)
    assert resumed[len(killed.results)].train_s > 1000  # the steps before count, with their time
    assert curve(resumed) == curve(whole.results)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == whole.weights


@pytest.mark.parametrize("questions", [1, 2, 4])
def test_a_training_whose_machine_leaves_goes_on_elsewhere_to_the_bit(
    whole: Run,
    tmp_path: Path,
    context_at: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
    questions: int,
) -> None:
    asked: list[None] = []

    class Leaving(LocalContext):
        def must_leave(self) -> bool:
            asked.append(None)
            return len(asked) == questions

    monkeypatch.setattr(loop, "_STEPS_BETWEEN_QUESTIONS", 1)
    here, elsewhere = Leaving(**vars(context_at(tmp_path))), context_at(tmp_path)
    with pytest.raises(MachineLeaves):
        list(train(SPEC, here))
    left = load_checkpoint(elsewhere.checkpoints, SPEC)
    resumed = list(train(SPEC, elsewhere))

    assert left
    assert (len(left.results), left.begun.steps) == divmod(questions - 1, 2)
    assert curve(resumed) == curve(whole.results)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == whole.weights


def test_a_stopped_training_of_a_peer_goes_on_to_the_bit(
    tmp_path: Path, context_at: MakeContext
) -> None:
    training = replace(SPEC.training, epochs=2)
    spec = replace(SPEC, architecture=Peer("enet", num_classes=3), training=training)
    unbroken = list(train(spec, context_at(tmp_path / "unbroken")))
    stop_after(1, spec, context_at(tmp_path / "stopped"))

    assert curve(list(train(spec, context_at(tmp_path / "stopped")))) == curve(unbroken)
    one, other = (tmp_path / name / WEIGHTS_FILE for name in ("unbroken", "stopped"))
    assert one.read_bytes() == other.read_bytes()


def test_results_from_before_a_stop_are_yielded_again_unchanged(
    tmp_path: Path, context_at: MakeContext
) -> None:
    """Even their seconds are the same: they are remembered, not computed."""
    before = stop_after(2, SPEC, context_at(tmp_path))

    assert stop_after(2, SPEC, context_at(tmp_path)) == before


def test_a_finished_training_is_told_again_without_another_step(whole: Run) -> None:
    files = {path: path.stat().st_mtime_ns for path in whole.path.iterdir()}

    assert list(train(SPEC, whole.context)) == whole.results
    assert {path: path.stat().st_mtime_ns for path in whole.path.iterdir()} == files


def test_the_wait_for_data_is_a_part_of_the_time_of_training(whole: Run) -> None:
    assert all(0 < result.data_wait_s < result.train_s for result in whole.results)


def damage(data: Data, key: str) -> None:
    (record,) = (record for record in data.records if record.key == key)
    path = data.root / record.shard
    content = bytearray(path.read_bytes())
    content[record.image_offset + 60] ^= 1
    path.write_bytes(content)


@pytest.fixture
def harmed(tmp_path: Path, write_dataset: Callable[..., Data]) -> Data:
    """Return a data set with one corrupt sample in each split; all of it is in every epoch."""
    data = write_dataset(tmp_path / "harmed", train=8, val=3)
    damage(data, "train-5")
    damage(data, "val-1")
    return data


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_skipped_samples_are_told_with_every_epoch_each_once(
    harmed: Data, tmp_path: Path, folder_at: Callable[[Path], Folder], cache: CachePolicy
) -> None:
    dataset = harmed.open()
    train_split, val_split = (
        dataset.split(name, cache, skip_corrupt=True) for name in ("train", "val")
    )
    context = LocalContext(folder_at(tmp_path), (dataset, train_split, val_split))

    results = list(train(SPEC, context))

    for result in results:
        assert [message.split()[1] for message in result.corrupt] == ["train-5", "val-1"]
        assert all("is damaged" in message for message in result.corrupt)


def test_a_corrupt_sample_ends_a_training_that_skips_none(
    harmed: Data, tmp_path: Path, folder_at: Callable[[Path], Folder]
) -> None:
    dataset = harmed.open()
    parts = (dataset, dataset.split("train"), dataset.split("val"))

    with pytest.raises(CorruptSample, match=r"sample train-5 in .* is damaged"):
        list(train(SPEC, LocalContext(folder_at(tmp_path), parts)))


def test_a_training_leaves_its_checkpoint_and_its_weights(whole: Run) -> None:
    assert {path.name for path in whole.path.iterdir()} == {CHECKPOINT_FILE, WEIGHTS_FILE}


def test_a_stopped_training_has_no_weights_yet(tmp_path: Path, context_at: MakeContext) -> None:
    stop_after(EPOCHS - 1, SPEC, context_at(tmp_path))

    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


def test_the_saved_weights_score_what_the_last_epoch_did(whole: Run) -> None:
    dataset, _, val = whole.context.data
    model, _ = load_weights(whole.weights)

    score = mean_iou(evaluate(model, val, dataset, whole.context))
    assert score == pytest.approx(whole.results[-1].mean_iou, abs=1e-3)


def test_the_saved_weights_say_how_to_use_them(whole: Run, data: Data) -> None:
    _, deployment = load_weights(whole.weights)

    assert deployment.architecture == SPEC.architecture
    assert (deployment.mean, deployment.std) == (data.info.mean, data.info.std)
    assert deployment.class_names == data.info.classes.names
    assert tuple(deployment.palette) == data.info.classes.palette


def test_a_folder_of_another_training_is_refused(whole: Run) -> None:
    with pytest.raises(DataError, match=CHECKPOINT_FILE):
        next(train(replace(SPEC, seed=12), whole.context))


def test_more_samples_a_step_than_there_are_is_refused(
    tmp_path: Path, context_at: MakeContext
) -> None:
    spec = replace(SPEC, training=TrainConfig(batch_size=11))

    with pytest.raises(UsageError, match="10 samples"):
        next(train(spec, context_at(tmp_path)))


def test_a_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, context_at: MakeContext
) -> None:
    spec = replace(SPEC, training=replace(SPEC.training, learning_rate=math.inf))

    with pytest.raises(TrialFailed, match="loss is nan in epoch 1"):
        next(train(spec, context_at(tmp_path)))


def test_a_training_that_failed_saves_nothing(tmp_path: Path, context_at: MakeContext) -> None:
    spec = replace(SPEC, training=replace(SPEC.training, learning_rate=math.inf))
    with pytest.raises(TrialFailed):
        next(train(spec, context_at(tmp_path)))

    assert list(tmp_path.iterdir()) == []


STANDSTILL = replace(SPEC, training=TrainConfig(epochs=3, batch_size=10, learning_rate=0.0))


def test_every_epoch_sees_other_views_of_the_pictures(
    tmp_path: Path, context_at: MakeContext
) -> None:
    """With weights that stand still and all samples in one step, only the views can differ."""
    losses = [result.train_loss for result in train(STANDSTILL, context_at(tmp_path))]

    assert all(abs(a - b) > 1e-3 for a, b in pairwise(losses))


@pytest.mark.parametrize("change", [{"mixing": 1.0}, {"scale_range": (1.0, 1.0)}])
def test_the_spec_says_what_is_done_to_pictures(
    tmp_path: Path, context_at: MakeContext, change: dict[str, Any]
) -> None:
    other = replace(STANDSTILL, training=replace(STANDSTILL.training, **change))
    losses = [
        stop_after(1, spec, context_at(tmp_path / str(number)))[0].train_loss
        for number, spec in enumerate((STANDSTILL, other))
    ]

    assert abs(losses[0] - losses[1]) > 1e-3


def test_a_class_counts_as_much_as_it_weighs(tmp_path: Path, context_at: MakeContext) -> None:
    context = context_at(tmp_path / "as they are")
    dataset, *splits = context.data
    first, *others = dataset.info.class_weights
    info = replace(dataset.info, class_weights=(100 * first, *others))
    other = replace(context_at(tmp_path / "first"), data=(replace(dataset, info=info), *splits))

    one, another = (stop_after(1, STANDSTILL, c)[0].train_loss for c in (context, other))
    assert abs(one - another) > 1e-3


def test_the_loss_is_a_mean_whatever_the_scale_of_the_class_weights(
    tmp_path: Path, context_at: MakeContext
) -> None:
    context = context_at(tmp_path / "as they are")
    dataset, *splits = context.data
    heavier = tuple(1000 * weight for weight in dataset.info.class_weights)
    info = replace(dataset.info, class_weights=heavier)
    other = replace(context_at(tmp_path / "heavier"), data=(replace(dataset, info=info), *splits))

    one, same = (stop_after(1, STANDSTILL, c)[0].train_loss for c in (context, other))
    assert same == pytest.approx(one, rel=1e-5)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, context_at: MakeContext) -> list[EpochResult]:
    """Return the results where colour alone tells the class."""
    training = TrainConfig(epochs=8, batch_size=2, learning_rate=1e-2, scale_range=(1.0, 1.0))
    context = context_at(tmp_path_factory.mktemp("learnt"))
    return list(train(replace(SPEC, training=training), context))


def test_the_loss_falls_where_there_is_something_to_learn(learnt: list[EpochResult]) -> None:
    losses = [result.train_loss for result in learnt]

    assert losses[-1] < losses[len(losses) // 2] < losses[0]
    assert losses[-1] < 0.5 * losses[0]


def test_the_score_rises_where_there_is_something_to_learn(learnt: list[EpochResult]) -> None:
    assert learnt[-1].mean_iou > max(0.6, learnt[0].mean_iou)


def test_half_precision_goes_nearly_the_same_way(
    tmp_path: Path, whole: Run, context_at: MakeContext
) -> None:
    """Not just the same, or nothing would have been computed in it."""
    half = replace(SPEC, training=replace(SPEC.training, precision="bfloat16"))
    (result,) = stop_after(1, half, context_at(tmp_path))
    exact = whole.results[0].train_loss

    assert result.train_loss != exact
    assert result.train_loss == pytest.approx(exact, rel=0.02)


def test_the_score_is_the_mean_of_the_classes(whole: Run) -> None:
    result = whole.results[-1]

    assert result.mean_iou == pytest.approx(np.nanmean(result.class_iou))


@pytest.mark.parametrize("ignore", [255, 3])
@pytest.mark.parametrize("seed", range(5))
def test_loss_over_weight_is_torchs_weighted_mean(seed: int, ignore: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, 5, 7, generator=chance)
    label = torch.randint(0, 4, (2, 5, 7), generator=chance)
    label[label == 3] = ignore
    weights = torch.tensor([0.5, 2.0, 8.0])

    loss = weighted_loss(logits, label.to(torch.uint8), weights, ignore)
    weight = label_weight(label.to(torch.uint8), weights)

    expected = F.cross_entropy(logits, label, weights, ignore_index=ignore, reduction="mean")
    torch.testing.assert_close(loss / weight, expected)


def test_the_weight_of_a_batch_is_that_of_its_labelled_pixels() -> None:
    label = torch.tensor([[[0, 1, 1, 255]]], dtype=torch.uint8)

    assert float(label_weight(label, torch.tensor([0.5, 2.0]))) == 0.5 + 2.0 + 2.0


def test_a_batch_without_labels_has_neither_loss_nor_weight() -> None:
    label = torch.full((1, 4, 4), 255, dtype=torch.uint8)

    loss = weighted_loss(torch.randn(1, 2, 4, 4), label, torch.ones(2), 255)
    assert (float(loss), float(label_weight(label, torch.ones(2)))) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0.0, 1e-3), (0.5, 1e-3 * 0.5**0.9), (0.75, 1e-3 * 0.25**0.9), (1.0, 0.0)],
)
def test_the_rate_falls_from_its_start_to_nothing(progress: float, rate: float) -> None:
    assert learning_rate(RECIPES["paper"], progress) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.6, 1.0), (1.0, 1.0)]
)
def test_the_rate_rises_to_the_line_on_which_it_falls(progress: float, share: float) -> None:
    without = TrainConfig(learning_rate=1e-3, warm_up=0.0)

    rate = learning_rate(replace(without, warm_up=0.2), progress)
    assert rate == pytest.approx(share * learning_rate(without, progress))


@pytest.mark.parametrize(("epochs", "progress"), [(1, 1 / 6), (2, 3 / 6)])
def test_the_rate_falls_with_every_step_of_the_whole_training(
    tmp_path: Path, context_at: MakeContext, epochs: int, progress: float
) -> None:
    """Two of six steps are an epoch: its second is taken with the ones before it behind it."""
    context = context_at(tmp_path)
    stop_after(epochs, SPEC, context)

    checkpoint = load_checkpoint(context.checkpoints, SPEC)
    assert checkpoint is not None
    rates = [group["lr"] for group in checkpoint.optimizer["param_groups"]]
    assert rates == pytest.approx([1e-2 * (1 - progress) ** 0.9] * 3)
