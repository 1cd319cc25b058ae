"""A network over many inputs in batches; no gradients, no Trainer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def in_batches(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    progress: str | None = None,
) -> Tensor:
    """`function` of all inputs, batch by batch, without gradients.

    Args:
        function: (B, ...) on `device` -> (B, K).
        inputs: (N, ...).
        precision: as `trainer.precision`.
        progress: label of a progress bar, None for none.

    Returns:
        float32 (N, K) on the CPU.
    """
    kind = torch.device(device).type
    parts: list[Tensor] = []
    starts = tqdm(range(0, len(inputs), batch_size), desc=progress, disable=progress is None, unit=" batches")
    with torch.inference_mode(), torch.autocast(kind, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
        for start in starts:
            parts.append(function(inputs[start : start + batch_size].to(device)).float().cpu())
    # Out of inference mode, so that they may be trained on.
    return torch.cat(parts).clone()


def predict(
    net: nn.Module,
    images: Tensor,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    progress: str | None = None,
) -> Tensor:
    """Class probabilities in eval mode.

    Args:
        net: images -> logits.
        images: uint8 (N, C, H, W).
        precision, progress: as for `in_batches`.

    Returns:
        float32 (N, classes) on the CPU; rows sum to 1.
    """
    net = net.to(device).eval()
    logits = in_batches(
        net, images, batch_size=batch_size, device=device, precision=precision, progress=progress
    )
    return logits.softmax(1)
