"""For users' programs from before tlcl/data/images/decode.py."""

from tlcl.data.images.decode import BadImage as BadImage
from tlcl.data.images.decode import decode_image as decode_image
