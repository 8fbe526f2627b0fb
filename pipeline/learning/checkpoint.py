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

from pipeline.core.config import EpochResult, TrialSpec
from pipeline.core.errors import DataError, UsageError
from pipeline.core.manifest import Colour
from pipeline.core.peer import Network, network_from_dict
from pipeline.learning.folder import Folder, exists, folder_uri, read_bytes, write_bytes
from pipeline.learning.network import build
from pipeline.learning.provenance import Provenance

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
        results = tuple(EpochResult.from_dict(row) for row in state["results"])
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

    architecture: Network
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]


def save_weights(
    folder: Folder, model: nn.Module, deployment: Deployment, provenance: Provenance | None = None
) -> None:
    """Write the weights with all that is needed to use them, as one safetensors file."""
    write_bytes(folder, WEIGHTS_FILE, pack_weights(model, deployment, provenance))


def pack_weights(
    model: nn.Module, deployment: Deployment, provenance: Provenance | None = None
) -> bytes:
    """Return the content of a weights file.

    Args:
        model: the network.
        deployment: what it takes to label a picture with it.
        provenance: how it was trained; None where that is not known.
    """
    description = asdict(deployment) | {"architecture": deployment.architecture.to_dict()}
    metadata = {"deployment": json.dumps(description)}
    if provenance:
        metadata["provenance"] = provenance.to_json()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return bytes(safetensors.torch.save(tensors, metadata=metadata))


def load_provenance(content: bytes) -> Provenance | None:
    """Return what a weights file says of its training; None if it says nothing.

    Raises:
        DataError: the file is not one of ours.
    """
    try:
        text = _metadata(content).get("provenance")
        return Provenance.from_json(text) if text else None
    except _NOT_OURS as cause:
        raise DataError(f"{WEIGHTS_FILE} is not a network of this program ({cause})") from cause


def _metadata(content: bytes) -> dict[str, str]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata


def load_weights(content: bytes) -> tuple[nn.Module, Deployment]:
    """Return the network that ``save_weights`` wrote, ready to predict.

    Raises:
        DataError: the file is not one of ours.
    """
    try:
        fields = json.loads(_metadata(content)["deployment"])
        deployment = Deployment(
            architecture=network_from_dict(fields["architecture"]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            class_names=tuple(fields["class_names"]),
            palette=tuple((r, g, b) for r, g, b in fields["palette"]),
        )
        model = build(deployment.architecture)
        model.load_state_dict(safetensors.torch.load(content))
    except _NOT_OURS as cause:
        raise DataError(f"{WEIGHTS_FILE} is not a network of this program ({cause})") from cause
    return model.eval(), deployment
