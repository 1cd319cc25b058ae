"""One image file to one uint8 tensor, whatever its size, mode and orientation."""

import warnings
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

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
    """uint8 (channels, size, size), and the original's width and height in pixels, turned upright by EXIF."""

    pixels: Tensor
    original: tuple[int, int]


def decode_image(content: bytes, size: int, channels: int) -> Tensor:
    """The pixels of `decode_sized`."""
    return decode_sized(content, size, channels).pixels


def decode_sized(content: bytes, size: int, channels: int) -> SizedImage:
    """Decode, turn upright by EXIF, crop the centre square, to whole pixels, and resize it.

    16-bit greys are scaled to 8 bits, transparent images are laid on white.

    Args:
        content: the bytes of a file of one of `FORMATS`.
        size: height and width of the result in pixels.
        channels: 3 for RGB, 1 for grey.

    Raises:
        BadImage: not an image, truncated, beyond Pillow's limit on pixels, or with pixels that are no numbers.
    """
    try:
        image: Image.Image = Image.open(BytesIO(content), formats=FORMATS)
        # Pillow only warns up to twice its limit; turning warnings into errors is not safe among threads.
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        image.load()
        image = ImageOps.exif_transpose(image)
        original = image.size
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float64)
            if not np.isfinite(values).all():
                raise BadImage("pixels that are NaN or infinite")
            # 16-bit files arrive as 0..65535; what already fits 8 bits stays as it is.
            scaled = values / 257 if values.max() > 255 else values
            image = Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
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
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("more pixels than Pillow's safety limit") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything, struct.error for one
        raise BadImage(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    array = np.array(image, dtype=np.uint8).reshape(size, size, channels)
    return SizedImage(torch.from_numpy(array).permute(2, 0, 1).contiguous(), original)
