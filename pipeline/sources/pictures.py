"""Pictures and label maps on disk, decoded within limits, or refused in one line with their name.

What a file is, its content says; its name only pairs it. PNG carries checksums, which are checked;
JPEG and WebP carry none, so of these only files that cannot be decoded are told.
"""

import io
import os
import struct
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.errors import DataError
from pipeline.core.manifest import MAX_MEMBER_BYTES, MAX_PIXELS
from pipeline.sources import png
from pipeline.sources.source import LabelledImage

# By Pillow's names, which keep a PNG's bits: "L;4", "RGB;16B". Wider ones would be squeezed into
# 8 bits without a word.
_IMAGE_FORMATS = ("RGB", "RGBA", "L", "L;2", "L;4", "P", "P;1", "P;2", "P;4")
# A palette label map is read as its indices. Greys of 2 and 4 bits would come out stretched to 255.
_LABEL_FORMATS = ("L", "P", "P;1", "P;2", "P;4")
_MASK_FORMATS = (*_LABEL_FORMATS, "RGB")
# Where a file can say how it is to be turned: EXIF in its own chunk, segment or text, or XMP.
_TURNING = (b"eXIf", b"Exif", b"EXIF", b"Raw profile type", b"tiff:Orientation", b"adobe.xmp")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return a PNG, JPEG or WebP picture as (H, W, 3) RGB, turned as its EXIF says.

    Raises:
        DataError: the file is missing, damaged, too large or of another format.
    """
    return _decode(path, ("PNG", "JPEG", "WEBP"), _IMAGE_FORMATS, (3,), as_rgb=True)


def read_label(path: Path) -> NDArray[np.uint8]:
    """Return the values of a PNG label map, (H, W).

    Raises:
        DataError: as ``read_image``, or it is not a map of one 8-bit value a pixel.
    """
    return _decode(path, ("PNG",), _LABEL_FORMATS, (2,))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return a PNG mask: (H, W) values, or (H, W, 3) colours if it is stored in RGB.

    Raises:
        DataError: as ``read_label``.
    """
    return _decode(path, ("PNG",), _MASK_FORMATS, (2, 3))


def labelled(
    image_HWC: NDArray[np.uint8], label_HW: NDArray[np.uint8], label_path: Path
) -> LabelledImage:
    """Return image and label as one sample.

    Raises:
        DataError: their sizes differ.
    """
    if image_HWC.shape[:2] != label_HW.shape:
        raise DataError(
            f"{label_path} is {_size(label_HW)}, its image is {_size(image_HWC)}: "
            "both must have one size, export the label again"
        )
    return LabelledImage(image_HWC, label_HW)


def _decode(
    path: Path,
    kinds: tuple[str, ...],
    formats: Collection[str],
    bare_dimensions: tuple[int, ...],
    *,
    as_rgb: bool = False,
) -> NDArray[np.uint8]:
    wanted = "PNG" if len(kinds) == 1 else "PNG, JPEG or WebP"
    try:
        content = _content(path)
        if (shape := png.bare_shape(content)) and len(shape) in bare_dimensions:
            if shape[0] * shape[1] > MAX_PIXELS:
                raise DataError(_too_large(path))
            png.check(content)
            return png.by_libpng(content)
        with Image.open(io.BytesIO(content), formats=kinds) as picture:
            _check_header(path, picture, formats)
            # Decoding looks neither at a PNG's checksums nor for the end of the file.
            picture.verify()
        with Image.open(io.BytesIO(content), formats=kinds) as picture:
            if as_rgb and (picture.mode != "RGB" or _may_be_turned(picture, content)):
                return np.array(_upright(picture).convert("RGB"))
            return png.pixels(picture, content)
    except FileNotFoundError as cause:
        raise DataError(f"{path} is missing: restore it or remove its partner") from cause
    except UnidentifiedImageError as cause:
        raise DataError(f"{path} is not a {wanted} file: export it as PNG again") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise DataError(_too_large(path)) from cause
    # What Pillow lets out on one damaged chunk or another.
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error) as cause:
        raise DataError(f"{path} is damaged or unreadable ({cause}): export it again") from cause


def _content(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:  # one read takes all of it
        size = os.fstat(file.fileno()).st_size
        if size > MAX_MEMBER_BYTES:
            raise DataError(f"{path} has more than {MAX_MEMBER_BYTES >> 20} MiB: make it smaller")
        return file.read(size)


def _may_be_turned(picture: Image.Image, content: bytes) -> bool:
    """Return whether there is anything that may say so; asking Pillow would decode the picture."""
    said = png.besides_pixels(content) if picture.format == "PNG" else content
    return any(mark in said for mark in _TURNING)


def _upright(picture: Image.Image) -> Image.Image:
    """Return the picture as viewers show it, and so as whoever drew its label saw it."""
    return ImageOps.exif_transpose(picture)


def _check_header(path: Path, picture: Image.Image, formats: Collection[str]) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise DataError(_too_large(path))
    if (found := _pixel_format(picture)) not in formats:
        wanted = dict.fromkeys(name.partition(";")[0] for name in formats)
        raise DataError(
            f"{path} has the pixel format {found}, wanted 8 bits a channel in "
            f"{' or '.join(wanted)}: convert it"
        )


def _pixel_format(picture: Image.Image) -> str:
    tile = getattr(picture, "tile", None)
    return str(tile[0].args) if picture.format == "PNG" and tile else picture.mode


def _too_large(path: Path) -> str:
    return (
        f"{path} has more than {MAX_PIXELS // 1_000_000} megapixels, the most that is decoded: "
        "make it smaller"
    )


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"  # height first, as everywhere here
