"""What one of two processes does for `test_shared_cache.py`: outputs of frozen blocks, each process its share."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tlcl.data.versions import Crops, Versions
from tlcl.models.blocks import FEATURES, Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.prefix_cache import activations as module
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations
from tlcl.prefix_cache.shares import ALONE, Shares
from tlcl.seeding import generator

COUNT = 43  # of images, in batches of 6, the last of which takes the odd one: 7 batches, 4 and 3 of them
ROWS = (25, 18)  # of 0, 2, 4, 6 and of 1, 3, 5
IMAGES = torch.randint(0, 256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=generator(0, "images"))
PLACES = ["layer2", FEATURES]
VERSIONS = {"plain": Versions(1), "flip": Versions(2), "crops": Versions(3, Crops(padding=1), True, 5)}
MODES = {"ram": ("ram", "float32"), "disk": ("disk", "float32"), "auto": ("auto", "bfloat16")}


def network() -> Blocks:
    net, _ = build_model(ResNet18Config("resnet18", "none", 16), 3, seed=0)
    return net.to(memory_format=torch.channels_last).eval()


class Counted(FrozenBlocks):
    """Counts the rows that this process computes, by the place that they are computed to."""

    rows: dict[str, int]

    def run(self, batches: Iterable[Tensor], start: str | None, stop: str) -> Iterator[Tensor]:
        for result in super().run(batches, start, stop):
            self.rows[stop] = self.rows.get(stop, 0) + len(result)
            yield result


def computed(folder: Path, shares: Shares, versions: str, mode: str) -> tuple[dict[str, Held], dict[str, int]]:
    kind, dtype = MODES[mode]
    Counted.rows = {}
    blocks = Counted(network(), IMAGES, VERSIONS[versions], torch.device("cpu"), "32-true", False, shares)
    return activations(blocks, PLACES, Keeping(kind, 2**30, dtype, folder)), Counted.rows


def report(held: dict[str, Held], rows: dict[str, int]) -> dict[str, Any]:
    return {
        "rows": rows,
        "values": {place: one.values.clone() for place, one in held.items()},
        "found": {place: one.found for place, one in held.items()},
        "where": {place: one.where for place, one in held.items()},
    }


def troubles(path: Path, rank: int, shares: Shares) -> dict[str, Any]:
    """Of the disk of one process alone, which the other must hear of."""
    said: dict[str, Any] = {}
    apart = path / f"node{rank}"
    first = Shares(shares.rank, shares.world, writes=True)  # each on a node of its own, with a folder of its own
    said["nodes"] = report(*computed(apart, first, "plain", "disk"))
    said["nodes again"] = report(*computed(apart, first, "plain", "disk"))
    if rank == 1:
        for file in apart.iterdir():
            file.unlink()
    said["one lacks it"] = report(*computed(apart, first, "plain", "disk"))
    said["unseen"] = report(*computed(path / f"unseen{rank}", shares, "plain", "auto"))
    blocked = path / f"blocked{rank}"
    if rank == 1:
        blocked.write_text("a file where a folder should be")
    for mode in ("disk", "auto"):
        said[f"blocked {mode}"] = report(*computed(blocked, first, "plain", mode))
    blocks = FrozenBlocks(network(), IMAGES, VERSIONS["plain"], torch.device("cpu"), "32-true", False, shares)
    little = Keeping("ram", 2**30 if rank else 10, "float32", path)  # the memory of the first is full
    said["no memory"] = report(activations(blocks, PLACES, little), {})
    return said


def work(rank: int, folder: str, port: int) -> None:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "NODE_RANK": 0, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in places.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    path = Path(folder)
    result: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", 6)
        dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
        shares = Shares.of_run()
        assert shares == Shares(rank, 2, writes=rank == 0)
        for versions in VERSIONS:
            for mode in MODES:
                result[f"{versions} {mode}"] = report(*computed(path / versions / mode, shares, versions, mode))
        result["again"] = report(*computed(path / "plain" / "disk", shares, "plain", "disk"))
        result["troubles"] = troubles(path, rank, shares)
        dist.destroy_process_group()
        for versions in VERSIONS if rank == 0 else ():
            for mode in MODES:
                alone = computed(path / "alone" / versions / mode, ALONE, versions, mode)
                result[f"{versions} {mode} alone"] = report(*alone)
    torch.save(result, path / f"{rank}.pt")
