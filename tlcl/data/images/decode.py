"""One image file to one uint8 tensor, whatever its size, mode and orientation."""

import math
import warnings
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from tlcl.data.images.heif import heif_format, is_heif
from tlcl.data.images.pixel_range import NoRange, PixelRange, is_deep, is_deep_colour, range_of, scaled

# What Pillow decodes by itself; EPS, for one, it hands to another program, which runs what the file says.
FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "FITS", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD",
    "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP",
)  # fmt: skip

# What Pillow says of a damaged file's metadata, an EXIF tag for one, changes no pixel; to silence it for a while
# only is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(Exception):
    """The bytes are no whole image; the message says why in a few words."""


class SizedImage(NamedTuple):
    """What one file holds.

    Attributes:
        pixels: uint8 (channels, size, size).
        original: the image's width and height in pixels, turned upright by EXIF.
        brightest: of an image of more than 8 bits, where its brightest pixel lay in its range, 0..1; else NaN.
    """

    pixels: Tensor
    original: tuple[int, int]
    brightest: float = math.nan


def decode_image(content: bytes, size: int, channels: int, pixel_range: PixelRange | None = None) -> Tensor:
    """The pixels of `decode_sized`."""
    return decode_sized(content, size, channels, pixel_range).pixels


def decode_sized(
    content: bytes, size: int, channels: int, pixel_range: PixelRange | None = None
) -> SizedImage:
    """Decode, turn upright by EXIF, crop the centre square, to whole pixels, and resize it.

    Transparent images are laid on white; images of more than 8 bits are scaled, see `tlcl.data.images.pixel_range`.

    Args:
        content: the bytes of a file of one of `FORMATS`, or of HEIC where pillow-heif is installed.
        size: height and width of the result in pixels.
        channels: 3 for RGB, 1 for grey.
        pixel_range: what is black and white in images of more than 8 bits; None: what their type says.

    Raises:
        BadImage: not an image, truncated, beyond Pillow's limit on pixels, or with pixels that are no numbers or
            whose black and white nothing says.
    """
    brightest = math.nan
    try:
        formats = (*FORMATS, heif_format()) if is_heif(content) else FORMATS
        image: Image.Image = Image.open(BytesIO(content), formats=formats)
        # Pillow only warns up to twice its limit; turning warnings into errors is not safe among threads.
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        deep_colour = is_deep_colour(image)
        if deep_colour and pixel_range is not None:
            why = "16-bit colours, of which the upper 8 bits alone can be read"
            raise NoRange(f"{why}; data.pixel_range is for grey")
        image.load()
        if deep_colour:
            brightest = max(high for _, high in image.convert("RGB").getextrema()) / 255  # type: ignore[misc]
        limits = range_of(image, pixel_range) if is_deep(image) else None  # by what the file says of itself
        image = ImageOps.exif_transpose(image)
        original = image.size
        if limits is not None:
            image, brightest = scaled(image, limits)
        pixels = fitted(image, size, channels)
    except MemoryError:  # which says nothing of the file
        raise
    except UnidentifiedImageError:
        raise BadImage("a damaged HEIC photo" if is_heif(content) else "not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("more pixels than Pillow's safety limit") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything, struct.error for one
        raise BadImage(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    return SizedImage(pixels, original, brightest)


def fitted(image: Image.Image, size: int, channels: int) -> Tensor:
    """The centre square of an image of 8 bits, to whole pixels, resized (bicubic); what is transparent is white.

    Returns:
        uint8 (channels, size, size): RGB where `channels` is 3, grey where it is 1.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    # Whole pixels, so that an image of the right height or width is not resampled.
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    array = np.array(image, dtype=np.uint8).reshape(size, size, channels)
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()
