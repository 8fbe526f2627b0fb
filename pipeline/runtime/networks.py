"""Networks by whatever name they go: a run, a registry alias, a file, the authors' weights.

Every name ends at the bytes of a weights file, so that all commands treat all networks alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.core.errors import DataError, ServiceUnavailable, UsageError
from pipeline.learning.denormals import flush_denormals
from pipeline.learning.folder import read_bytes
from pipeline.learning.network import count_weights
from pipeline.learning.official import official_weights
from pipeline.learning.provenance import Provenance
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import WEIGHTS_FILE, check_digest, digest_of, load_provenance
from pipeline.runtime import services
from pipeline.runtime.storage import open_folder

REFERENCES = (
    "an MLflow run id, models:/NAME@champion, a folder or .safetensors file (a path or s3://), "
    "or the authors' .pth"
)
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_OFFICIAL_SUFFIXES = (".pth", ".pt")


@dataclass(frozen=True)
class Network:
    """A network that was found, ready to label.

    Attributes:
        reference: what it was asked for by.
        weights: content of its weights file.
        segmenter: the network itself.
        provenance: its training; None for the authors' weights.
        notes: what the registry says of this version, by name.
    """

    reference: str
    weights: bytes
    segmenter: Segmenter
    provenance: Provenance | None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_params(self) -> int:
        """Return how many trainable parameters the network has, counted."""
        return count_weights(self.segmenter.model)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the weights file."""
        return digest_of(self.weights)


def open_network(reference: str, state_dir: Path, *, official_preprocessing: bool) -> Network:
    """Find a network and read it, starting the local services where the reference needs them.

    Args:
        reference: see ``REFERENCES``.
        state_dir: of this machine's services.
        official_preprocessing: see ``official_weights``; for the authors' weights only.

    Raises:
        UsageError: the reference names nothing that can be used.
        DataError: what it names is no network.
        ServiceUnavailable: a service does not answer.
    """
    flush_denormals()  # the authors' weights are rewritten before they are a Segmenter's
    is_official = reference.endswith(_OFFICIAL_SUFFIXES)
    if official_preprocessing and not is_official:
        raise UsageError(
            "--official-preprocessing is for the authors' .pth files: other weights bring their own"
        )
    weights, notes = _find(reference, state_dir)
    if is_official:
        weights = official_weights(weights, quirk=official_preprocessing)
    return replace(network_of(weights, reference), notes=notes)


def network_of(weights: bytes, reference: str) -> Network:
    """Return the network of a weights file that was read.

    Raises:
        DataError: it is none.
    """
    return Network(reference, weights, Segmenter.from_bytes(weights), load_provenance(weights))


def _find(reference: str, state_dir: Path) -> tuple[bytes, Mapping[str, str]]:
    is_model, is_run = reference.startswith("models:/"), _RUN_ID.fullmatch(reference)
    if not (is_model or is_run):
        return _read(reference, state_dir), {}
    # MLflow takes seconds to import, and files need none of it.
    from pipeline.runtime import registry

    services.ensure_environment(state_dir, needs_s3=False, needs_mlflow=True)
    if is_model:
        return registry.model_weights(reference)
    uri, noted = registry.run_weights(reference)
    weights = _read(uri, state_dir)
    check_digest(weights, noted, uri)
    return weights, {}


def _read(uri: str, state_dir: Path) -> bytes:
    """Return a weights file; a URI without a file's ending is a folder that holds one."""
    if uri.startswith("s3://"):
        services.ensure_environment(state_dir, needs_s3=True, needs_mlflow=False)
        folder = uri.rstrip("/")
    elif (path := Path(uri).expanduser()).exists():
        folder = str(path.absolute())  # not resolved: a link may go to a file without an ending
    else:
        raise UsageError(f"there is no network {uri!r}: give {REFERENCES}")
    name = WEIGHTS_FILE
    if folder.endswith((".safetensors", *_OFFICIAL_SUFFIXES)):
        folder, _, name = folder.rpartition("/")
    try:
        return read_bytes(open_folder(folder or "/", create=False), name)
    except DataError as cause:
        raise UsageError(f"there is no network {uri!r} ({cause}): give {REFERENCES}") from cause
    except OSError as cause:
        reason = str(cause).splitlines()[0]
        raise ServiceUnavailable(
            f"{uri} cannot be read ({reason}): check the path and S3"
        ) from cause
