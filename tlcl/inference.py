"""Probabilities for many images in batches; no gradients, no Trainer."""

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.models.blocks import Blocks

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def predict(
    net: Blocks,
    images: Tensor,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    progress: str | None = None,
) -> Tensor:
    """Class probabilities in eval mode.

    Args:
        images: uint8 (N, C, H, W).
        precision: as `trainer.precision`.
        progress: label of a progress bar, None for none.

    Returns:
        float32 (N, classes) on the CPU; rows sum to 1.
    """
    net = net.to(device).eval()
    kind = torch.device(device).type
    parts: list[Tensor] = []
    starts = tqdm(range(0, len(images), batch_size), desc=progress, disable=progress is None, unit=" batches")
    with torch.inference_mode(), torch.autocast(kind, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
        for start in starts:
            logits = net(images[start : start + batch_size].to(device))
            parts.append(logits.float().softmax(1).cpu())
    return torch.cat(parts)
