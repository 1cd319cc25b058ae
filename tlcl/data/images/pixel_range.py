"""Images of more than 8 bits: which of their values are black and white, by the file's type or a key, no guess.

What one image's brightest pixel is says nothing of the others, so it decides nothing.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

BITS, SAMPLE_FORMAT, SIGNED = 258, 339, 2  # tags of TIFF 6.0, sections 4 and 19
SIXTEEN = 65535


class PixelRange(NamedTuple):
    """The values that become 0 and 255; what is beyond them is cut."""

    low: float
    high: float


class NoRange(ValueError):
    """The type of these pixels says nothing of black and white."""


class Scaled(NamedTuple):
    """An 8-bit grey image, and where its brightest pixel lay in the range of its type, 0..1."""

    image: Image.Image
    brightest: float


def is_deep(image: Image.Image) -> bool:
    """Whether its pixels are more than 8 bits of one channel: Pillow's modes I, I;16 and their like, and F."""
    return image.mode.startswith("I") or image.mode == "F"


def is_deep_colour(image: Image.Image) -> bool:
    """Whether it has several channels of 16 bits, of which Pillow reads the upper 8; asked before it is loaded."""
    return len(image.getbands()) > 1 and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def range_of(image: Image.Image, given: PixelRange | None) -> PixelRange:
    """What is black and white in an image as it was opened.

    Without `given`, 16-bit files reach from 0 to 65535, TIFF files of 9 to 15 bits to the largest number of that
    many, and floats from 0 to 1.

    Raises:
        NoRange: pixels that are NaN or infinite; without `given`, floats beyond 0..1, signed or 32-bit numbers.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise NoRange("pixels that are NaN or infinite")
    if given is not None:
        return given
    if image.mode == "F":
        if values.size and not 0 <= values.min() <= values.max() <= 1:
            raise NoRange(f"float pixels beyond 0 to 1, {_asked(values)}")
        return PixelRange(0, 1)
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        bits, signed = max(tags.get(BITS) or (16,)), SIGNED in (tags.get(SAMPLE_FORMAT) or ())
        if bits <= 16 and not signed:
            return PixelRange(0, 2**bits - 1)
    elif image.format in ("PNG", "PPM", "JPEG2000"):  # Pillow brings all of them to 16 bits
        return PixelRange(0, SIXTEEN)
    raise NoRange(f"signed or 32-bit pixels, {_asked(values)}")


def scaled(image: Image.Image, limits: PixelRange) -> Scaled:
    """To 8 bits: linear, rounded, so that a brighter pixel never becomes a darker one."""
    share = (np.asarray(image, dtype=np.float64) - limits.low) / (limits.high - limits.low)
    eight = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    return Scaled(Image.fromarray(eight), float(share.max(initial=0.0)))


def _asked(values: np.ndarray) -> str:
    low, high = (f"{value:.6g}" for value in (values.min(initial=0), values.max(initial=0)))
    return f"here from {low} to {high}; data.pixel_range=[LOW,HIGH] says what is black and white"
