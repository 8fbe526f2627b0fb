"""Pictures on disk, decoded within limits, or refused in one line with their name."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.errors import DataError

MAX_PIXELS = 64_000_000
_FORMATS = ("PNG", "JPEG", "WEBP")
# Wider modes would be squeezed into 8 bits without a word.
_MODES = ("L", "LA", "P", "RGB", "RGBA")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return a picture as RGB (H, W, 3), turned as its EXIF says.

    Raises:
        DataError: it is missing, no picture, damaged or too large.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as picture:
                _check_header(path, picture)
                # Decoding a PNG looks neither at its checksums nor for its end.
                picture.verify()
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as picture:
                return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError as cause:
        raise DataError(f"{path} is missing: check the path") from cause
    except UnidentifiedImageError as cause:
        wanted = ", ".join(_FORMATS)
        raise DataError(f"{path} is no picture, wanted one of {wanted}: convert it") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise DataError(_too_large(path)) from cause
    # IndexError and SyntaxError: what Pillow lets out on some damaged files.
    except (OSError, SyntaxError, ValueError, IndexError) as cause:
        raise DataError(f"{path} cannot be read ({cause}): copy or export it again") from cause


def _check_header(path: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise DataError(_too_large(path))
    if picture.mode not in _MODES:
        raise DataError(f"{path} has pixels of format {picture.mode}, wanted 8 bits: convert it")


def _too_large(path: Path) -> str:
    return (
        f"{path} has more than {MAX_PIXELS // 1_000_000} megapixels, the most that is decoded: "
        "make it smaller"
    )
