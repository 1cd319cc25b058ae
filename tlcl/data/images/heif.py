"""HEIC, as telephones take photos: read by pillow-heif where it is installed, else named for what it is."""

from functools import cache
from importlib import import_module

# Brands of ISO/IEC 23008-12; AVIF, in the same container, Pillow reads by itself.
BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def is_heif(content: bytes) -> bool:
    """By its first brand."""
    return content[4:8] == b"ftyp" and content[8:12] in BRANDS and b"avif" not in content[16:64]


@cache
def heif_format() -> str:
    """The name under which Pillow then reads it.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise ValueError(
            "a HEIC photo; install pillow-heif with pip install 'tlcl[heic]', or save it as JPEG"
        ) from None
    return "HEIF"
