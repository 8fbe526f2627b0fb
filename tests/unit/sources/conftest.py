"""Made trees of pictures, and what is said when they are wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DataError

SIZE = (6, 8)


def save(path: Path, pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format=kind, **options)
    return path


def save_image(path: Path, shade: int = 90, kind: str = "PNG") -> Path:
    return save(path, np.full((*SIZE, 3), shade, dtype=np.uint8), kind)


def save_label(path: Path, value: int = 0) -> Path:
    return save(path, np.full(SIZE, value, dtype=np.uint8))


def data_error(action: Callable[..., object], *arguments: object) -> str:
    """Return what the error says, which is one line."""
    with pytest.raises(DataError) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
