"""Features of a frozen backbone: computed once, kept by content, served by index."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tlcl.atomic import atomic_open
from tlcl.inference import in_batches
from tlcl.models.blocks import Blocks

log = logging.getLogger(__name__)
VERSION = "1"  # part of every key: raise it when the same weights and images give other features
BATCH = 256


class LastLayer(nn.Module):
    """The last layer of `net` (shared, not copied) as a network whose inputs are features."""

    def __init__(self, net: Blocks) -> None:
        super().__init__()
        self.classifier = net.classifier

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K)."""
        logits: Tensor = self.classifier(features)
        return logits

    def features(self, features: Tensor) -> Tensor:
        """The inputs themselves."""
        return features


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _key(net: Blocks, images: Tensor, precision: str) -> str:
    """A hash of everything that the features depend on: backbone, input transform, images, arithmetic."""
    digest = hashlib.blake2b(digest_size=16)
    about = (VERSION, precision, net.inputs.size, tuple(images.shape), torch.__version__)
    digest.update(repr(about).encode())
    body: Iterable[tuple[str, Tensor]] = (
        (name, tensor) for name, tensor in net.state_dict().items() if not name.startswith("blocks.head.")
    )
    for name, tensor in [*body, ("mean", net.inputs.mean), ("std", net.inputs.std), ("images", images)]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def frozen_features(
    net: Blocks, images: Tensor, *, device: torch.device, precision: str, cache: Path, progress: str | None
) -> Tensor:
    """`net.features` of all images in eval mode, from the cache if they are there.

    The key is the content of backbone and images, so features of other weights are never used; a file that cannot
    be read is made anew, and one that cannot be written only costs a warning.

    Args:
        images: uint8 (N, C, H, W).
        progress: label of a progress bar, None for none.

    Returns:
        float32 (N, D) on the CPU.
    """
    path = cache / "features" / f"{_key(net, images, precision)}.safetensors"
    if path.is_file():
        try:
            return load_file(path)["features"]
        except (SafetensorError, OSError, KeyError):
            log.warning("the cached features %s are damaged and are computed again", path)
    net = net.to(device).eval()
    features = in_batches(
        net.features, images, batch_size=BATCH, device=device, precision=precision, progress=progress
    )
    try:
        with atomic_open(path) as file:
            file.write(save({"features": features}))
    except OSError as error:
        log.warning("features are not cached: %s", error)
    return features
