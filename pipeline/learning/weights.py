"""The weights file: a network with all that is needed to use it, as one safetensors file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from pipeline.core.errors import DataError, UsageError
from pipeline.core.fields import colours, numbers, texts
from pipeline.core.manifest import Colour
from pipeline.core.peer import Network, network_from_dict
from pipeline.learning.compact.network import CompactCGNet
from pipeline.learning.compact.shape import CompactShape
from pipeline.learning.denormals import clear_denormals
from pipeline.learning.folder import Folder, write_bytes
from pipeline.learning.network import build, count_weights, network_size
from pipeline.learning.provenance import Provenance

WEIGHTS_FILE = "weights.safetensors"
DIGEST = "weights_sha256"  # what registries call the digest of a weights file

# What a file that we did not write can make the reader raise.
_NOT_OURS = (
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UsageError,
    ValueError,
)
_TOO_SHORT = "it has fewer bytes than such a network has weights"


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
    if isinstance(model, CompactCGNet):
        description["compact"] = model.shape.to_dict()
    if provenance:
        description["provenance"] = provenance.to_json()
    # One entry: safetensors writes several in an order that differs from run to run.
    metadata = {"deployment": json.dumps(description)}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return bytes(safetensors.torch.save(tensors, metadata=metadata))


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a weights file."""
    return hashlib.sha256(content).hexdigest()


def check_digest(content: bytes, noted: str | None, place: str) -> None:
    """Make sure that a weights file is the one that was registered.

    Args:
        content: of the file.
        noted: its SHA-256 then; None where none was noted.
        place: that the content is from.

    Raises:
        DataError: it is another.
    """
    if noted is not None and (found := digest_of(content)) != noted:
        raise DataError(
            f"the weights at {place} have SHA-256 {found}, registered was {noted}: they were "
            "changed since; run the search again, or take another version"
        )


def load_provenance(content: bytes) -> Provenance | None:
    """Return what a weights file says of its training; None if it says nothing.

    Raises:
        DataError: the file is not one of ours.
    """
    try:
        text = _description(content).get("provenance")
        return Provenance.from_json(text) if text else None
    except _NOT_OURS as cause:
        raise DataError(f"{WEIGHTS_FILE} is not a network of this program ({cause})") from cause


def _description(content: bytes) -> dict[str, Any]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    description: dict[str, Any] = json.loads(header["__metadata__"]["deployment"])
    return description


def _model(fields: dict[str, Any], architecture: Network, num_bytes: int) -> nn.Module:
    """Return the network that is described, unless the file is too short for its weights."""
    if "compact" not in fields:
        if network_size(architecture) > num_bytes:
            raise ValueError(_TOO_SHORT)
        return build(architecture)
    if _largest(fields["compact"]) > num_bytes:
        raise ValueError(_TOO_SHORT)
    shape = CompactShape.from_dict(fields["compact"])
    with torch.device("meta"):
        if count_weights(CompactCGNet(shape)) > num_bytes:
            raise ValueError(_TOO_SHORT)
    return CompactCGNet(shape)


def _largest(value: Any) -> int:
    """Return the largest whole number anywhere in a value of JSON."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return max(map(_largest, parts), default=0)
    return value if isinstance(value, int) else 0


def _deployment(fields: dict[str, Any]) -> Deployment:
    architecture = network_from_dict(fields["architecture"])
    mean_r, mean_g, mean_b = numbers(fields["mean"], 3)
    std_r, std_g, std_b = numbers(fields["std"], 3)
    return Deployment(
        architecture=architecture,
        mean=(mean_r, mean_g, mean_b),
        std=(std_r, std_g, std_b),
        class_names=texts(fields["class_names"]),
        palette=colours(fields["palette"], architecture.num_classes),
    )


def load_weights(content: bytes) -> tuple[nn.Module, Deployment]:
    """Return the network that ``save_weights`` wrote, compacted or not, ready to predict.

    Raises:
        DataError: the file is not one of ours.
    """
    try:
        fields = _description(content)
        deployment = _deployment(fields)
        model = _model(fields, deployment.architecture, len(content))
        model.load_state_dict(safetensors.torch.load(content))
        clear_denormals(model)
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, 16, 16))  # layers that do not go together show here
    except _NOT_OURS as cause:
        raise DataError(f"{WEIGHTS_FILE} is not a network of this program ({cause})") from cause
    return model, deployment
