"""The values a training is made of. A ``TrialSpec`` is all that crosses to a worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from pipeline.core.errors import UsageError
from pipeline.core.peer import Network, network_from_dict

CachePolicy = Literal["auto", "none", "disk", "memory"]
CorruptPolicy = Literal["fail", "skip"]
OptimizerName = Literal["adam", "adam-scales", "adamw", "muon"]
Precision = Literal["float32", "bfloat16"]
RecipeName = Literal["default", "paper", "sparse"]


@dataclass(frozen=True)
class DataConfig:
    """Which data a training reads, and how.

    Attributes:
        uri: of the data set.
        fingerprint: that it must have.
        on_corrupt: whether a sample that cannot be read fails the training or is left out.
        cache: what a worker keeps between epochs; changes nothing but speed.
    """

    uri: str
    fingerprint: str
    on_corrupt: CorruptPolicy = "fail"
    cache: CachePolicy = "auto"


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained; ``RECIPES`` has other ways beside the defaults.

    Attributes:
        epochs: passes over the train split.
        batch_size: samples in a step, all workers together.
        optimizer: "muon", whose steps are orthogonal, with AdamW for what is no matrix; or Adam
            alone. They differ in what decays as well: those of convolutions and gates with "muon"
            and "adamw", every parameter with "adam", the scales of batch norms with "adam-scales".
        learning_rate: at its highest; it falls as (1 - step/steps)^0.9.
        warm_up: share of the steps, 0 to 1, in which it rises from nothing to that line.
        weight_decay: how strong.
        scale_range: least and greatest random enlargement of a training picture.
        mixing: share, 0 to 1, of the training pictures over which half the classes of another lie.
        precision: of what goes through the network in a step; weights, loss and validation are
            float32 in any case.
        num_workers: processes that share a step. On CPUs each has its own batch norm statistics, so
            that their number changes the curve; on GPUs they have them together.
    """

    epochs: int = 10
    batch_size: int = 8
    optimizer: OptimizerName = "muon"
    learning_rate: float = 1e-2
    warm_up: float = 0.1
    weight_decay: float = 2e-2
    scale_range: tuple[float, float] = (0.5, 2.0)
    mixing: float = 0.0
    precision: Precision = "float32"
    num_workers: int = 1

    def __post_init__(self) -> None:
        """Refuse a training that could not make a step."""
        for name in ("epochs", "batch_size", "num_workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")


_MIXING, _MIXING_EPOCHS = 0.5, 40  # docs/decisions.md, 97

# The authors' is that of their training on CamVid, but for its length. The sparse one has L2 too,
# at ten times their rate: what training kills can be taken out.
RECIPES: Mapping[RecipeName, TrainConfig] = {
    "default": TrainConfig(),
    "paper": TrainConfig(
        optimizer="adam",
        learning_rate=1e-3,
        warm_up=0.0,
        weight_decay=5e-4,
    ),
    "sparse": TrainConfig(optimizer="adam", weight_decay=2e-4),
}


def recipe(name: RecipeName, epochs: int) -> TrainConfig:
    """Return a recipe for a training of so many epochs.

    The default one mixes pictures where each is seen often: before that there is more to learn from
    them as they are.
    """
    training = replace(RECIPES[name], epochs=epochs)
    if name == "default" and epochs >= _MIXING_EPOCHS:
        return replace(training, mixing=_MIXING)
    return training


# What two trainings on the same data must share for their scores to compare.
COMPARED = tuple(field.name for field in fields(TrainConfig) if field.name != "num_workers")


@dataclass(frozen=True)
class TrialSpec:
    """One training, whole: the same spec on the same hardware gives the same curve.

    Attributes:
        architecture: of the CGNet to train, or the peer to train in its place.
        data: the data set.
        training: how.
        seed: of initial weights, order and augmentation.
    """

    architecture: Network
    data: DataConfig
    training: TrainConfig
    seed: int

    @property
    def id(self) -> str:
        """Return ten hex digits that differ whenever the training would."""
        text = replace(self, data=replace(self.data, cache="auto")).to_json()
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def to_json(self) -> str:
        """Return the spec as one line of JSON."""
        whole = asdict(self) | {"architecture": self.architecture.to_dict()}
        return json.dumps(whole, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrialSpec":
        """Read what ``to_json`` wrote."""
        whole: dict[str, Any] = json.loads(text)
        training = whole["training"]
        training["scale_range"] = tuple(training["scale_range"])
        return cls(
            architecture=network_from_dict(whole["architecture"]),
            data=DataConfig(**whole["data"]),
            training=TrainConfig(**training),
            seed=whole["seed"],
        )


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of a training gave.

    Attributes:
        epoch: counted from 1; ``epochs`` of them are the whole training.
        epochs: that this training will take.
        train_loss: mean over the epoch's steps and all ranks.
        mean_iou: of the val split, 0 to 1.
        class_iou: per class, 0 to 1; nan for a class in neither truth nor prediction.
        train_s: seconds in training steps, waiting for data included.
        val_s: seconds in validation.
        data_wait_s: seconds of ``train_s`` in which rank 0 had no batch to work on.
        corrupt: what was wrong with each sample left out so far, on any rank.
        deployed_parameters: of the network once what training killed is taken out, after the last
            epoch; None before it.
        deployed_macs: multiply-accumulates of that for one picture of the data set's size.
    """

    epoch: int
    epochs: int
    train_loss: float
    mean_iou: float
    class_iou: tuple[float, ...]
    train_s: float
    val_s: float
    data_wait_s: float = 0.0
    corrupt: tuple[str, ...] = ()
    deployed_parameters: int | None = None
    deployed_macs: int | None = None

    @property
    def is_last(self) -> bool:
        """Return whether the training ends here."""
        return self.epoch == self.epochs

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "EpochResult":
        """Read what ``asdict`` gave, whose tuples JSON may have turned into lists."""
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in told.items()
        }
        return cls(**values)
