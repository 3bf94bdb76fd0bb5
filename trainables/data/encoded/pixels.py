"""What do the pixels of an image file mean? Gray or RGB in 8 bits, upright, on white.

Legend of shapes: H rows, W columns, C channels.
"""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

BACKGROUND = (255, 255, 255)  # of what is transparent
GRAY_MODES = ("1", "L", "LA", "La", "I", "F")  # and I;16 in any byte order
ORIENTATION = 0x0112  # EXIF's tag; from LYING on rows and columns are exchanged
LYING = 5

# A file of a few bytes that claims to be of billions of pixels is damaged, not large.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What an image file says of itself: nothing is decoded.

    is_special: turned by EXIF, transparent, or not of 8 bits; see READING.
    """

    is_gray: bool
    height: int
    width: int
    num_frames: int
    is_special: bool


def read_header(encoded: bytes) -> Header:
    """Kind and size, as `read_image` gives it.

    Raises:
        ValueError: no image, or one of no pixels; the text is the reason.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        width, height = image.size
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation >= LYING:
            width, height = height, width
        is_deep = image.mode in ("1", "F") or image.mode.startswith("I")
        return Header(
            is_gray=_is_gray(image),
            height=height,
            width=width,
            num_frames=getattr(image, "n_frames", 1),
            is_special=orientation > 1 or is_deep or image.has_transparency_data,
        )
    except Exception as error:
        raise ValueError(_reason(encoded, error)) from error


def read_image(encoded: bytes, channels: int | None) -> Image.Image:
    """The image as it is looked at: mode L (`channels` 1) or RGB (3; None = as it is stored).

    The first frame, turned as its EXIF orientation says; what is transparent shows BACKGROUND;
    16 bits become 8 by their scale.

    Raises:
        ValueError: it cannot be decoded, its pixels have no known scale, or it is coloured and
            one channel is wanted; the text is the reason.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded))
        is_gray, kind = _is_gray(image), image.format
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F" or (image.mode == "I" and kind not in ("PNG", "PPM")):
            raise ValueError(f"{image.mode} pixels of 32 bits have no known scale; save 8 or 16")
        if image.mode.startswith("I"):
            deep_HW = np.asarray(image).astype(np.int64)
            image = Image.fromarray(((deep_HW + 128) // 257).clip(0, 255).astype(np.uint8))
        elif image.has_transparency_data:
            shown = Image.new("RGBA", image.size, (*BACKGROUND, 255))
            shown.alpha_composite(image.convert("RGBA"))
            image = shown
        return image.convert("L" if (channels or (1 if is_gray else 3)) == 1 else "RGB")
    except Exception as error:
        raise ValueError(_reason(encoded, error)) from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """The central square, resized to `size` rows and columns; bilinear, without aliasing."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W, C)."""
    return np.asarray(image).reshape(image.height, image.width, len(image.getbands()))


def _is_gray(image: Image.Image) -> bool:
    return image.mode in GRAY_MODES or image.mode.startswith("I;16")


def _reason(encoded: bytes, error: Exception) -> str:
    """Short, and without the address of a stream."""
    if not encoded:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no image, or of a kind that is not known"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
