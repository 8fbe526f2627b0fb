"""What ``torch.save`` wrote, read without running any of it."""

import io
import zipfile
from typing import Any

import torch

from pipeline.core.errors import DataError, one_line


def load_saved(content: bytes, what: str) -> Any:
    """Return tensors on the CPU, in what held them.

    Args:
        content: of the file.
        what: it is, for messages.

    Raises:
        DataError: it is no such file, or reading it would run code or fill the memory.
    """
    try:
        _check_sizes(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as cause:  # the machine that pickles are run on foresees no damage
        raise DataError(f"{what} cannot be read as weights alone ({one_line(cause)})") from cause


def _check_sizes(content: bytes) -> None:
    """Refuse members that take more memory than they have bytes: torch itself compresses none."""
    if zipfile.is_zipfile(file := io.BytesIO(content)):
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise ValueError("its members are larger than the file")
