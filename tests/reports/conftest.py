"""Records of a fine-tuning, made up."""

import numpy as np

from tlcl.config.thaw import BLOCKS


def metrics(epochs: int) -> list[dict]:
    """Synthetic records: the head, layer4 from epoch 2, layer3 and layer2 from epoch 4."""
    lines = []
    for epoch in range(epochs):
        trained = {"head"} | ({"layer4"} if epoch >= 2 else set()) | ({"layer3", "layer2"} if epoch >= 4 else set())
        lines.append(
            {
                "epoch": epoch,
                **{f"{part}/acc": epoch / epochs for part in ("train", "val")},
                **{f"{part}/loss": 1 / (1 + epoch) for part in ("train", "val")},
                **{f"lr/{block}": 0.1 * (index + 1) for index, block in enumerate(BLOCKS)},
                "trainable": [block for block in BLOCKS if block in trained],
            }
        )
    return lines


def predictions(count: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(classes, size=count), random.dirichlet(np.ones(classes), size=count)
