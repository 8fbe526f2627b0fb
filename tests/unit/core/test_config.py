"""A trial's spec: whole in its JSON, and told apart by its id."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.architecture import Architecture
from pipeline.core.config import (
    RECIPES,
    DataConfig,
    EpochResult,
    OptimizerName,
    RecipeName,
    TrainConfig,
    TrialSpec,
    recipe,
)
from pipeline.core.errors import UsageError
from pipeline.core.peer import PEER_LABELS, Peer

SPEC = TrialSpec(
    Architecture(num_classes=11), DataConfig("s3://data/tiny", "abc"), TrainConfig(), 0
)

POSITIVE = st.floats(min_value=1e-6, max_value=10.0)
SPECS = st.builds(
    TrialSpec,
    architecture=st.one_of(
        st.builds(
            Architecture,
            num_blocks_3=st.integers(1, 30),
            dilations_3=st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple),
            residual=st.sampled_from(["global", "local"]),
            input_injection=st.booleans(),
        ),
        st.builds(Peer, st.sampled_from(sorted(PEER_LABELS)), st.integers(1, 30)),
    ),
    data=st.builds(DataConfig, uri=st.text(), fingerprint=st.text()),
    training=st.builds(
        TrainConfig,
        epochs=st.integers(1, 1000),
        batch_size=st.integers(1, 64),
        learning_rate=POSITIVE,
        warm_up=st.floats(0.0, 1.0, allow_subnormal=False),
        optimizer=st.sampled_from(get_args(OptimizerName)),
        weight_decay=POSITIVE,
        mixing=st.floats(0.0, 1.0, allow_subnormal=False),
        scale_range=st.tuples(POSITIVE, POSITIVE),
        num_workers=st.integers(1, 8),
    ),
    seed=st.integers(0, 2**31),
)


def test_the_papers_recipe_is_that_of_the_authors_camvid_training() -> None:
    training = RECIPES["paper"]

    assert (training.batch_size, training.learning_rate, training.weight_decay) == (8, 1e-3, 5e-4)
    assert (training.warm_up, training.optimizer, training.scale_range) == (0.0, "adam", (0.5, 2.0))
    assert training.mixing == 0.0


@pytest.mark.parametrize(
    ("name", "epochs", "mixing"),
    [("default", 39, 0.0), ("default", 40, 0.5), ("paper", 800, 0.0), ("sparse", 800, 0.0)],
)
def test_only_long_trainings_mix_pictures(name: RecipeName, epochs: int, mixing: float) -> None:
    assert recipe(name, epochs) == replace(RECIPES[name], epochs=epochs, mixing=mixing)


@given(SPECS)
def test_json_gives_the_spec_back(spec: TrialSpec) -> None:
    assert TrialSpec.from_json(spec.to_json()) == spec


def test_the_id_of_a_spec_never_changes() -> None:
    """Checkpoints on disk carry it."""
    assert SPEC.id == "b22a258a4b"


@given(SPECS)
def test_the_json_is_one_line(spec: TrialSpec) -> None:
    assert spec.to_json().splitlines() == [spec.to_json()]


@given(SPECS)
def test_a_spec_that_went_through_json_keeps_its_id(spec: TrialSpec) -> None:
    assert TrialSpec.from_json(spec.to_json()).id == spec.id


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, seed=1),
        replace(SPEC, architecture=Architecture(num_classes=11, num_blocks_3=20)),
        replace(SPEC, architecture=Architecture(num_classes=11, activation="relu")),
        replace(SPEC, architecture=Peer("enet", num_classes=11)),
        replace(SPEC, data=DataConfig("s3://data/tiny", "abd")),
        replace(SPEC, training=TrainConfig(epochs=11)),
        replace(SPEC, training=TrainConfig(batch_size=4)),
        replace(SPEC, training=TrainConfig(learning_rate=2e-3)),
        replace(SPEC, training=TrainConfig(warm_up=0.0)),
        replace(SPEC, training=TrainConfig(weight_decay=0.0)),
        replace(SPEC, training=TrainConfig(optimizer="adamw")),
        replace(SPEC, training=TrainConfig(scale_range=(1.0, 1.0))),
        replace(SPEC, training=TrainConfig(mixing=0.5)),
        replace(SPEC, training=TrainConfig(precision="bfloat16")),
        replace(SPEC, training=TrainConfig(num_workers=2)),
    ],
)
def test_another_training_has_another_id(other: TrialSpec) -> None:
    assert other.id != SPEC.id


@pytest.mark.parametrize("name", ["epochs", "batch_size", "num_workers"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_training_without_a_step_is_refused_by_field(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} must be at least 1, got {value}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_a_recipe_that_cannot_train_is_refused_by_field(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be at least 0, got -0.1"):
        TrainConfig(**{name: -0.1})


@pytest.mark.parametrize(("epoch", "is_last"), [(1, False), (2, False), (3, True)])
def test_the_epoch_that_completes_the_training_is_the_last(epoch: int, is_last: bool) -> None:
    result = EpochResult(epoch, 3, 1.0, 0.5, (0.5,), 1.0, 1.0)

    assert result.is_last is is_last
