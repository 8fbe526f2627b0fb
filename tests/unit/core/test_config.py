"""The values that cross to a worker."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.errors import UsageError

SPEC = TrialSpec(
    architecture=Architecture(num_classes=11, dilations_3=(1, 2, 4)),
    data=DataConfig(uri="s3://datasets/streets", fingerprint="abc"),
    training=TrainConfig(),
    seed=7,
)
RESULT = EpochResult(
    epoch=2, epochs=3, train_loss=0.5, mean_iou=0.4, class_iou=(0.4,), train_s=1.0, val_s=0.1
)


def test_the_defaults_are_the_authors_recipe() -> None:
    training = TrainConfig()

    assert (training.batch_size, training.learning_rate, training.weight_decay) == (8, 1e-3, 5e-4)
    assert training.scale_range == (0.5, 2.0)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "num_workers"])
def test_a_training_that_could_not_make_a_step_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be at least 1, got 0"):
        replace(TrainConfig(), **{name: 0})


@given(
    st.builds(
        TrainConfig,
        epochs=st.integers(1, 1000),
        batch_size=st.integers(1, 64),
        learning_rate=st.floats(1e-6, 1.0),
        weight_decay=st.floats(0.0, 1.0),
        scale_range=st.tuples(st.floats(0.1, 1.0), st.floats(1.0, 3.0)),
        num_workers=st.integers(1, 8),
    ),
    st.integers(0, 2**63),
)
def test_a_spec_survives_json(training: TrainConfig, seed: int) -> None:
    spec = replace(SPEC, training=training, seed=seed)

    assert TrialSpec.from_json(spec.to_json()) == spec


def test_a_spec_is_one_line() -> None:
    assert "\n" not in SPEC.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"architecture": Architecture(num_classes=11)},
        {"data": DataConfig(SPEC.data.uri, "abd")},
        {"training": TrainConfig(epochs=11)},
        {"training": TrainConfig(batch_size=4)},
        {"training": TrainConfig(learning_rate=1.1e-3)},
        {"training": TrainConfig(weight_decay=0.0)},
        {"training": TrainConfig(scale_range=(0.5, 1.9))},
        {"training": TrainConfig(num_workers=2)},
    ],
    ids=str,
)
def test_another_training_has_another_id(change: dict[str, Any]) -> None:
    assert replace(SPEC, **change).id != SPEC.id


def test_a_spec_that_crossed_to_a_worker_keeps_its_id() -> None:
    assert TrialSpec.from_json(SPEC.to_json()).id == SPEC.id


@pytest.mark.parametrize(("epoch", "expected"), [(1, False), (2, False), (3, True)])
def test_only_the_last_epoch_is_last(epoch: int, expected: bool) -> None:
    assert replace(RESULT, epoch=epoch).is_last is expected
