"""How much training changed each block: centred kernel alignment of its outputs before and after."""

import copy
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from tlcl.data.content_order import content_order
from tlcl.models.blocks import Blocks
from tlcl.models.inference import outputs

IMAGES = 256  # seen by both networks, at most
LEAST = 4  # with fewer the estimator has no degree of freedom


def centred_gram(vectors: Tensor) -> Tensor:
    """U-centred Gram matrix of N outputs: (N, ...) -> double (N, N), N >= 4.

    Off the diagonal, which is zero, k_ij - sum_l k_il / (N-2) - sum_l k_lj / (N-2) + sum_lm k_lm / ((N-1)(N-2)) for
    the linear kernel k without its diagonal (Szekely & Rizzo 2014, "Partial distance correlation", definition 2).
    """
    flat = vectors.flatten(1).float()
    flat = flat - flat.mean(0)  # changes nothing but the digits that are lost
    gram = (flat @ flat.T).double().fill_diagonal_(0)
    n, rows = len(gram), gram.sum(1) / (len(gram) - 2)
    gram = gram - rows[:, None] - rows + gram.sum() / ((n - 1) * (n - 2))
    return gram.fill_diagonal_(0)


def linear_cka(ours: Tensor, theirs: Tensor) -> float:
    """Linear CKA of two networks' outputs for the same N images, from HSIC's unbiased estimator.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with Gram matrices K, L (Kornblith et al. 2019, "Similarity of
    Neural Network Representations Revisited", eq. 4). HSIC is the unbiased estimator HSIC_1 (Song et al. 2012; used
    so in Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", eq. 3): the inner product of the
    U-centred Gram matrices over N (N-3). With the paper's own, tr(KHLH) / (N-1)^2, CKA is near 1 for any two
    networks that have many more outputs than there are images.

    Args:
        ours, theirs: (N, ...) with N >= 4; what follows N may differ.

    Returns:
        1 for outputs that are the same up to rotation, mirroring, one common scale and a shift; about 0, and
        sometimes a little below, for unrelated ones; NaN if one side is the same for all images.

    Raises:
        ValueError: fewer than 4 images, or not the same number.
    """
    if len(ours) != len(theirs) or len(ours) < LEAST:
        raise ValueError(
            f"CKA needs outputs for the same {LEAST} images or more, not {len(ours)} and {len(theirs)}"
        )
    k, l = centred_gram(ours), centred_gram(theirs)  # noqa: E741 (the paper's names)
    scale = float(k.norm() * l.norm())
    return float((k * l).sum()) / scale if scale else math.nan


def copy_before_training(net: Blocks, trained: Collection[str]) -> Blocks:
    """A copy of `net` that stays as it is now; the blocks that will not be trained are shared, not copied."""
    blocks = [net.block(name) for name in net.names if name not in trained]
    # With what is in them, as a block may be a part of a network that is copied besides.
    shared = [*blocks, *(part for block in blocks for part in block.children())]
    return copy.deepcopy(net, {id(part): part for part in shared})


def same_weights(ours: Blocks, theirs: Blocks, block: str) -> bool:
    """Whether a block computes the same in both networks: parameters and BatchNorm statistics are equal."""
    if ours.block(block) is theirs.block(block):
        return True
    states = [net.block(block).state_dict() for net in (ours, theirs)]
    counters = "num_batches_tracked"  # which nothing reads
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items() if not key.endswith(counters))


def similarities_on(
    images: Tensor, before: Blocks, after: Blocks, device: torch.device, precision: str
) -> dict[str, Any] | None:
    """What a summary says: the number of `images` and `blocks`.

    The images are drawn by what they are, for all runs and orders of files alike.

    None for fewer than 4 images; for the rest see `block_similarities`.
    """
    chosen = images[content_order(images, 0, "cka")[:IMAGES]]
    if len(chosen) < LEAST:
        return None
    return {"images": len(chosen), "blocks": block_similarities(before, after, chosen, device, precision)}


def block_similarities(
    before: Blocks, after: Blocks, images: Tensor, device: torch.device, precision: str
) -> dict[str, float | None]:
    """Linear CKA of each block's outputs before and after, in eval mode, by the block's name, without the head.

    Up to the first block that differs both networks are the same function: CKA is 1, and nothing is computed twice.

    Args:
        images: uint8 (N, C, H, W), N >= 4.
        precision: as `trainer.precision`, resolved.

    Returns:
        None for a block that gives the same for all images.
    """
    for net in (before, after):
        net.to(device).eval()

    def run(net: Blocks, x: Tensor, start: str | None, stop: str) -> Tensor:
        (result,) = outputs(
            lambda batch: net(batch, start=start, stop=stop), [x], device=device, precision=precision
        )
        return result

    names = after.names[:-1]
    alike = 0
    while alike < len(names) and same_weights(before, after, names[alike]):
        alike += 1
    result: dict[str, float | None] = dict.fromkeys(names[:alike], 1.0)
    if alike == len(names):
        return result
    start = names[alike - 1] if alike else None
    shared = run(after, images, None, start) if start else images
    ours, theirs = shared, shared
    for name in names[alike:]:
        ours, theirs, start = run(before, ours, start, name), run(after, theirs, start, name), name
        value = linear_cka(ours, theirs)
        result[name] = None if math.isnan(value) else value
    return result
