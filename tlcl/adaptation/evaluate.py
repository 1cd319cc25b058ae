"""What a network makes of both domains' test images: answers, how far the domains are apart, a map of both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from tlcl.adaptation.distance import proxy_a_distance
from tlcl.data.content_order import content_order
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.equal_images import digest_rows
from tlcl.data.image_tensors import ImageTensors
from tlcl.models.blocks import Blocks
from tlcl.models.inference import in_batches
from tlcl.system.files import atomic_open
from tlcl.tracking.records import RunDirectory

SHOWN = 500  # images a domain in the map and in the distance, at most


class Responses(NamedTuple):
    """To N images: the aligned block's outputs as vectors (N, D), and class probabilities (N, K)."""

    vectors: Tensor
    probabilities: Tensor

    def accuracy(self, labels: Tensor) -> float:
        """Share of the labels (N,) that have the highest probability."""
        return float((self.probabilities.argmax(1) == labels).double().mean())


def reading_order(data: ImageTensors) -> Tensor:
    """int64 (N,): indices of the images in an order of their pixels alone, whatever their names and order.

    On a CPU the last bits of an answer may depend on how many images its batch has: in this order the last batch,
    which may be small, has the same images however the files are called.
    """
    return content_order(digest_rows(data), 0, "responses")


def responses(
    net: Blocks,
    images: Tensor,
    place: str,
    device: torch.device,
    precision: str,
    progress: str | None = None,
    order: Tensor | None = None,
) -> Responses:
    """Of images uint8 (N, C, H, W), in eval mode; float32 on the CPU.

    Args:
        progress: label of a progress bar.
        order: int64 (N,), in which the network sees them, e.g. `reading_order`; as they lie without it.
    """
    net.to(device).eval()
    rows = torch.arange(len(images)) if order is None else order

    def both(part: Tensor) -> Tensor:
        outputs = net(images[part.cpu()].to(device), stop=place)
        return torch.cat([net(outputs, start=place).float(), net.pooled(place, outputs).float()], 1)

    together = in_batches(
        both, rows, batch_size=EVAL_BATCH, device=device, precision=precision, progress=progress
    )[rows.argsort()]
    classes = net.classifier.out_features
    return Responses(together[:, classes:], together[:, :classes].softmax(1))


def sample(images: Tensor) -> Tensor:
    """Indices of at most `SHOWN` of the images, drawn by their pixels: whatever their names and order."""
    return content_order(images, 0, "shown")[:SHOWN]


def a_distance(both: Sequence[Responses], shown: Sequence[Tensor]) -> float:
    """Proxy A-distance of the vectors of the `shown` images of each domain, 0 to 2."""
    parts = [side.vectors[chosen].numpy() for side, chosen in zip(both, shown, strict=True)]
    return proxy_a_distance(parts[0], parts[1], seed=0)


def embedded(both: Sequence[Responses], shown: Sequence[Tensor]) -> np.ndarray:
    """float32 (n + m, 2): t-SNE (van der Maaten & Hinton 2008) of the `shown` images of both domains together.

    All in one point where the network has collapsed and gives all images the same vector.
    """
    parts = [side.vectors[chosen] for side, chosen in zip(both, shown, strict=True)]
    points = torch.cat(parts).double().numpy()
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() == 0:  # t-SNE would crash
        return np.zeros((len(points), 2), np.float32)
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(points)


def write_embedding(directory: RunDirectory, maps: dict[str, np.ndarray], labels: Sequence[Tensor]) -> None:
    """`embedding.npz`: each map (n + m, 2) by its name, `labels` (n + m,), `domains` (n + m,), 0 the source's.

    Args:
        labels: of the shown images of the source, and of the target.
    """
    arrays: dict[str, Any] = {
        **maps,
        "labels": np.concatenate([part.numpy() for part in labels]),
        "domains": np.repeat([0, 1], [len(part) for part in labels]),
    }
    with atomic_open(directory.path / "embedding.npz") as file:
        np.savez_compressed(file, **arrays)
