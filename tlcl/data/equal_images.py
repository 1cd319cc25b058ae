"""Which images are equal, pixel for pixel as they are stored."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tlcl.data.image_tensors import ImageTensors


def pixel_digest(pixels: bytes) -> bytes:
    """16 bytes that are the same where all values are, and in practice only there."""
    return hashlib.blake2b(pixels, digest_size=16).digest()


def digests(images: Tensor) -> list[bytes]:
    """The `pixel_digest` of each image of (N, C, H, W)."""
    return [pixel_digest(image.tobytes()) for image in images.numpy()]


def digests_of(data: ImageTensors) -> list[bytes]:
    """The same of a data set's images, which may be known already."""
    if data.digests is None:
        return digests(data.images)
    known = data.digests.numpy().tobytes()
    return [known[start : start + 16] for start in range(0, len(known), 16)]


def digest_rows(data: ImageTensors) -> Tensor:
    """The same as uint8 (N, 16)."""
    if data.digests is not None:
        return data.digests
    return torch.frombuffer(bytearray(b"".join(digests(data.images))), dtype=torch.uint8).reshape(len(data), -1)


def equal_groups(known: Sequence[bytes]) -> list[list[int]]:
    """The indices of images that have an equal, together with it, in the order of the first of each group."""
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(known):
        groups.setdefault(digest, []).append(index)
    return [group for group in groups.values() if len(group) > 1]
