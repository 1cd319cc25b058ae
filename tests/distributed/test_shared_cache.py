"""Frozen blocks that two processes compute together: each its share, and the numbers of one process to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from torch import Tensor

from tests.conftest import composed, go
from tests.distributed import shared_cache_worker
from tests.distributed.shared_cache_worker import COUNT, MODES, PLACES, ROWS, VERSIONS
from tests.jobs.conftest import same_finetuning, summary
from tlcl import extensions
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.jobs.finetune import run
from tlcl.prefix_cache import activations
from tlcl.prefix_cache.activations import FrozenBlocks

Result = dict[str, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """What each of two processes saw (see `shared_cache_worker.work`)."""
    path = tmp_path_factory.mktemp("both")
    mp.spawn(shared_cache_worker.work, args=(str(path), find_free_network_port()), nprocs=2)
    return [torch.load(path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """To the bit, in shape, dtype and memory format."""
    return list(first) == list(second) == PLACES and all(
        torch.equal(one, other) and one.dtype == other.dtype and one.stride() == other.stride()
        for one, other in zip(first.values(), second.values(), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("versions", VERSIONS)
def test_each_computes_its_share_and_has_what_one_process_computes(
    both: list[Result], versions: str, mode: str
) -> None:
    name, count = f"{versions} {mode}", VERSIONS[versions].count
    alone = both[0][f"{name} alone"]
    for result, share in zip(both, ROWS, strict=True):
        assert same(result[name]["values"], alone["values"])
        assert result[name]["where"] == alone["where"]
        # Two rows more, in every process, show what the outputs look like.
        assert result[name]["rows"] == {place: 2 + share * count for place in PLACES}
    assert sum(ROWS) == COUNT
    assert alone["rows"] == {place: 2 + COUNT * count for place in PLACES}


@pytest.mark.slow
def test_what_is_in_a_file_is_computed_by_nobody(both: list[Result]) -> None:
    for result in both:
        assert result["again"]["found"] == dict.fromkeys(PLACES, True)
        assert result["again"]["rows"] == dict.fromkeys(PLACES, 2)
        assert same(result["again"]["values"], result["plain disk"]["values"])


@pytest.mark.slow
def test_trouble_of_one_process_is_that_of_all(both: list[Result]) -> None:
    """None waits for the others for ever, and what comes out is the same."""
    right = both[0]["plain disk alone"]["values"]
    rounded = both[0]["plain auto alone"]["values"]
    for rank, result in enumerate(both):
        said = result["troubles"]
        for name in ("nodes", "nodes again", "one lacks it"):
            assert same(said[name]["values"], right)
            assert said[name]["where"] == dict.fromkeys(PLACES, "file")
        assert said["nodes again"]["found"] == dict.fromkeys(PLACES, True)
        assert said["one lacks it"]["found"] == dict.fromkeys(PLACES, False)
        assert said["one lacks it"]["rows"] == {place: 2 + ROWS[rank] for place in PLACES}
        assert said["unseen"]["where"] == said["blocked auto"]["where"] == dict.fromkeys(PLACES, "memory")
        assert same(said["unseen"]["values"], rounded)
        assert same(said["blocked auto"]["values"], rounded)
        assert said["blocked disk"]["values"] == said["no memory"]["values"] == {}


# Notes in each process how many rows it computed; the batches are small, so that there are some for both.
COUNTS = """
import os
from tlcl.prefix_cache import activations

activations.BATCH = 8
run = activations.FrozenBlocks.run

def counted(self, batches, start, stop):
    for result in run(self, batches, start, stop):
        with open(os.environ["TLCL_TEST_COUNTS"] + os.environ.get("RANK", ""), "a") as file:
            file.write(f"{len(result)}\\n")
        yield result

activations.FrozenBlocks.run = counted
"""
SMALL = [
    "data.train_size=64", "data.val_size=24", "data.batch_size=8", "data.crop_padding=0", "data.flip=true",
    "trainer.devices=2", "trainer.epochs=4", "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]",
    "+thaw.3=[layer3,layer2,layer1,stem]",
]  # fmt: skip


@pytest.mark.slow
def test_a_cached_run_in_two_processes_equals_an_uncached_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: weights, metrics, optimizer. Two places of two versions of 64 images, and of 24 as they are."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(activations, "BATCH", activations.BATCH)  # to have them back: the file runs here too
    monkeypatch.setattr(FrozenBlocks, "run", FrozenBlocks.run)
    (tmp_path / "counts.py").write_text(COUNTS)
    allowed = extensions.allow(tmp_path / "counts.py")
    runs: dict[str, Path] = {}
    rows: dict[str, int] = {}  # that the second process computed
    for mode in ("off", "ram", "disk"):
        monkeypatch.setenv("TLCL_TEST_COUNTS", str(tmp_path / mode))
        config = composed(tmp_path / f"{mode}_run", *SMALL, f"data.cache_prefix={mode}")
        config.extend = [allowed]
        runs[mode] = go(config, run)
        counted = tmp_path / f"{mode}1"
        rows[mode] = sum(map(int, counted.read_text().split())) if counted.exists() else 0
    assert summary(runs["off"])["prefix_cache"] == []
    for mode in ("ram", "disk"):
        same_finetuning(runs["off"], runs[mode])
        record = summary(runs[mode])["prefix_cache"]
        assert [(one["of"], one["versions"], one["images"]) for one in record] == [
            *[("train", 2, 64)] * 2, *[("val", 1, 24)] * 2
        ]  # fmt: skip
    # Two places: 4 of 8 training batches in two versions, 1 of 3 validation batches, two rows for the look of them.
    assert rows == {"off": 0, "ram": 2 * (2 * 32 + 8 + 2 * 2), "disk": 2 * (2 * 32 + 8 + 2 * 2)}


FAILS = """
import os
from tlcl.prefix_cache import activations

activations.BATCH = 8
run = activations.FrozenBlocks.run

def failing(self, batches, start, stop):
    for number, result in enumerate(run(self, batches, start, stop)):
        if number == 1 and os.environ.get("RANK") == "1":
            raise RuntimeError("the second process cannot go on")
        yield result

activations.FrozenBlocks.run = failing
"""


@pytest.mark.slow
def test_a_process_that_fails_in_the_middle_ends_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(activations, "BATCH", activations.BATCH)
    monkeypatch.setattr(FrozenBlocks, "run", FrozenBlocks.run)
    (tmp_path / "fails.py").write_text(FAILS)
    config = composed(tmp_path, *SMALL, "data.cache_prefix=disk")
    config.extend = [extensions.allow(tmp_path / "fails.py")]
    with pytest.raises(RuntimeError, match="the second process cannot go on"):
        go(config, run)
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.partial")]


def test_continual_learning_in_several_processes_keeps_no_outputs(tmp_path: Path) -> None:
    tasks = ["continual=class_incremental", "method=er", "trainer.select=last", "data.crop_padding=0"]
    with pytest.raises(UserError, match=r"continual learning with data\.cache_prefix=ram .* trainer\.devices=1"):
        parse_config(composed(tmp_path, *tasks, "data.cache_prefix=ram", "trainer.devices=2"))
    parse_config(composed(tmp_path, "data.crop_padding=0", "data.cache_prefix=ram", "trainer.devices=2"))
