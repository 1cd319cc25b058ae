"""A network over many inputs in batches; no gradients, no Trainer."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """The context in which `trainer.precision` computes on a device."""
    return torch.autocast(torch.device(device).type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def outputs(
    function: Callable[[Tensor], Tensor], batches: Iterable[Tensor], *, device: torch.device | str, precision: str
) -> Iterator[Tensor]:
    """`function` of each batch on `device`, without gradients, in the dtype that `precision` gives it."""
    for batch in batches:
        # Entered for each batch: a generator's open context would reach into its caller.
        with torch.inference_mode(), autocast(device, precision):
            result = function(batch.to(device))
        yield result


def whole_batches(count: int, size: int) -> list[slice]:
    """0..count in slices of `size`; a lone last one joins the slice before, since a batch of one is computed by
    other kernels and rounded otherwise."""
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]


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
    slices = whole_batches(len(inputs), batch_size)
    bar = tqdm(slices, desc=progress, disable=progress is None, unit=" batches")
    results = outputs(function, (inputs[part] for part in bar), device=device, precision=precision)
    parts = [result.float().cpu() for result in results]
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
