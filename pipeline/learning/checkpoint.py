"""A training's state between epochs, and the weights it ends with."""

import io
import json
import pickle
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult, TrialSpec
from pipeline.core.errors import DataError, UsageError
from pipeline.core.manifest import Colour
from pipeline.learning.cgnet import CGNet
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.shape import CompactShape
from pipeline.learning.folder import Folder, exists, folder_uri, read_bytes, write_bytes

CHECKPOINT_FILE = "checkpoint.pt"
WEIGHTS_FILE = "weights.safetensors"

# What a file that we did not write can make the reader raise.
_NOT_OURS = (
    AttributeError,
    KeyError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UsageError,
    ValueError,
)


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on, and the results it had so far.

    Random draws are functions of seed and epoch, so there is no generator state to keep.
    """

    spec_id: str
    results: tuple[EpochResult, ...]
    model: dict[str, Any]
    optimizer: dict[str, Any]


def save_checkpoint(folder: Folder, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(
        {
            "spec_id": checkpoint.spec_id,
            "results": [asdict(result) for result in checkpoint.results],
            "model": checkpoint.model,
            "optimizer": checkpoint.optimizer,
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
    content = io.BytesIO(read_bytes(folder, CHECKPOINT_FILE))
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
        results = tuple(
            EpochResult(**row | {"class_iou": tuple(row["class_iou"])}) for row in state["results"]
        )
        checkpoint = Checkpoint(state["spec_id"], results, state["model"], state["optimizer"])
    except (EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as cause:
        raise DataError(f"{CHECKPOINT_FILE} in {folder_uri(folder)} cannot be read") from cause
    if checkpoint.spec_id != spec.id:
        raise DataError(
            f"{CHECKPOINT_FILE} belongs to training {checkpoint.spec_id}, this is {spec.id}: "
            "choose another --name"
        )
    return checkpoint


@dataclass(frozen=True)
class Deployment:
    """What a network needs beside its weights to label a picture."""

    architecture: Architecture
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]


def save_weights(folder: Folder, model: nn.Module, deployment: Deployment) -> None:
    """Write the weights with all that is needed to use them, as one safetensors file."""
    write_bytes(folder, WEIGHTS_FILE, pack_weights(model, deployment))


def pack_weights(model: nn.Module, deployment: Deployment) -> bytes:
    """Return the content of a weights file; that of a compacted network says its shape too."""
    description = asdict(deployment) | {"architecture": deployment.architecture.to_dict()}
    metadata = {"deployment": json.dumps(description)}
    if isinstance(model, CompactCGNet):
        metadata["compact"] = json.dumps(model.shape.to_dict())
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return bytes(safetensors.torch.save(tensors, metadata=metadata))


def load_weights(content: bytes) -> tuple[nn.Module, Deployment]:
    """Return the network that ``save_weights`` wrote, compacted or not, ready to predict.

    Raises:
        DataError: the file is not one of ours.
    """
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        fields = json.loads(metadata["deployment"])
        deployment = Deployment(
            architecture=Architecture.from_dict(fields["architecture"]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            class_names=tuple(fields["class_names"]),
            palette=tuple((r, g, b) for r, g, b in fields["palette"]),
        )
        model: nn.Module
        if shape := metadata.get("compact"):
            model = CompactCGNet(CompactShape.from_dict(json.loads(shape)))
        else:
            model = CGNet(deployment.architecture)
        model.load_state_dict(safetensors.torch.load(content))
    except _NOT_OURS as cause:
        raise DataError(f"{WEIGHTS_FILE} is not a network of this program ({cause})") from cause
    return model.eval(), deployment
