"""A training's state between epochs, and now and then within one."""

import io
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.core.config import EpochResult, TrialSpec
from pipeline.core.errors import DataError
from pipeline.learning.folder import Folder, exists, folder_uri, read_bytes, write_bytes
from pipeline.learning.saved import load_saved

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Begun:
    """An epoch that is not whole.

    Attributes:
        steps: so far.
        loss: their sum over all ranks.
        train_s: seconds they took.
        wait_s: those of them in which rank 0 had no batch to work on.
    """

    steps: int = 0
    loss: float = 0.0
    train_s: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on, and the results it had so far.

    Random draws are functions of seed and epoch, so there is no generator state to keep.
    """

    spec_id: str
    results: tuple[EpochResult, ...]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    begun: Begun = Begun()


def save_checkpoint(folder: Folder, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(
        {
            "spec_id": checkpoint.spec_id,
            "results": [asdict(result) for result in checkpoint.results],
            "model": checkpoint.model,
            "optimizer": checkpoint.optimizer,
            "begun": asdict(checkpoint.begun),
        },
        buffer,
    )
    write_bytes(folder, CHECKPOINT_FILE, buffer.getvalue())


def load_checkpoint(folder: Folder, spec: TrialSpec) -> Checkpoint | None:
    """Return the last checkpoint of this training, or None if it has not got that far.

    Raises:
        DataError: the checkpoint cannot be read, or is of another training.
    """
    if not exists(folder, CHECKPOINT_FILE):
        return None
    what = f"{CHECKPOINT_FILE} in {folder_uri(folder)}"
    state = load_saved(read_bytes(folder, CHECKPOINT_FILE), what)
    try:
        results = tuple(EpochResult.from_dict(row) for row in state["results"])
        checkpoint = Checkpoint(
            *(state["spec_id"], results, state["model"], state["optimizer"]),
            Begun(**state["begun"]),
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as cause:
        raise DataError(f"{what} cannot be read") from cause
    if checkpoint.spec_id != spec.id:
        raise DataError(
            f"{CHECKPOINT_FILE} belongs to training {checkpoint.spec_id}, this is {spec.id}: "
            "choose another --name"
        )
    return checkpoint
