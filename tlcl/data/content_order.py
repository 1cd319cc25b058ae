"""An order of images, or of their features, that no file name and no order of files has a part in."""

import math
from hashlib import blake2b

import torch
from torch import Tensor

from tlcl.seeding import derive_seed


def content_order(rows: Tensor, seed: int, stream: str) -> Tensor:
    """int64 (n,): indices of `rows` (n, ...) in an order that looks random, of their contents and the seed alone.

    The same rows in another order come in the same order; equal rows beside each other.

    Args:
        rows: of any type, 16 bits too.
    """
    key = derive_seed(seed, stream).to_bytes(8, "big")
    each = rows.cpu().reshape(len(rows), math.prod(rows.shape[1:])).contiguous().view(torch.uint8).numpy()
    digests = [blake2b(row.tobytes(), digest_size=16, key=key).digest() for row in each]
    return torch.tensor(sorted(range(len(digests)), key=digests.__getitem__), dtype=torch.int64)
