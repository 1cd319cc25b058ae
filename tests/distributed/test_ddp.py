"""Two processes that train together: the same weights in both, every image once, one buffer, the right figures."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from torch import Tensor, nn

from tests.distributed import ddp_worker
from tlcl.distributed.collectives import average, first_difference, gathered, world
from tlcl.tracking.records import ReadOnlyRunDirectory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes saw (see `ddp_worker.work`)."""
    path = tmp_path_factory.mktemp("both")
    mp.spawn(ddp_worker.work, args=(str(path), find_free_network_port()), nprocs=2)
    return [torch.load(path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def mean(first: Tensor, second: Tensor) -> Tensor:
    return (first + second) / 2


def test_weights_are_equal_to_the_bit_after_each_epoch(both: list[dict[str, Any]]) -> None:
    """Over two milestones, BatchNorm's statistics included."""
    one, two = (result["thawing"] for result in both)
    assert one["stopped"] == two["stopped"] == ""
    assert any("running_var" in name for name in one["states"][0])
    assert len(one["states"]) == 3
    assert all(equal(*pair) for pair in zip(one["states"], two["states"], strict=True))
    moved = [
        {name.split(".")[1] for name in early if not torch.equal(early[name], late[name])}
        for early, late in pairwise(one["states"])
    ]
    assert moved == [{"layer3", "head"}, {"layer2", "layer3", "head"}]


def test_the_gradient_that_is_applied_is_the_mean(both: list[dict[str, Any]]) -> None:
    """In the first step of each epoch, so also of blocks that have just thawed."""
    one, two = (result["thawing"] for result in both)
    for epoch, blocks in enumerate((["head"], ["layer3", "head"], ["layer2", "layer3", "head"])):
        assert sorted({name.split(".")[1] for name in one["applied"][epoch]}) == sorted(blocks)
        for name, applied in one["applied"][epoch].items():
            first, second = one["alone"][epoch][name], two["alone"][epoch][name]
            assert not torch.allclose(first, second, rtol=1e-3)
            torch.testing.assert_close(applied, mean(first, second), rtol=1e-4, atol=1e-7)
            assert torch.equal(applied, two["applied"][epoch][name])
    # With BatchNorm frozen an image does not depend on the others: it is the gradient of both batches together.
    for name, applied in one["applied"][0].items():
        torch.testing.assert_close(applied, one["of_all"][0][name], rtol=1e-4, atol=1e-7)


def test_freezing_before_ddp_wraps_would_reduce_nothing(both: list[dict[str, Any]]) -> None:
    """What `ThawingDDP` is for, and proof that the tests above would see it; the run stops by itself."""
    one, two = (result["naive"] for result in both)
    thawed = [name for name in one["applied"][1] if ".layer3." in name]
    assert thawed
    for name in thawed:
        assert torch.equal(one["applied"][1][name], one["alone"][1][name])
        assert not torch.equal(one["applied"][1][name], two["applied"][1][name])
    assert "no longer hold the same net.blocks.layer3" in one["stopped"] == two["stopped"]


def test_each_training_image_is_seen_once_and_the_odd_one_changes(both: list[dict[str, Any]]) -> None:
    one, two = (result["thawing"] for result in both)
    everything, left_out = set(one["train"].tolist()), []
    assert len(everything) == 97
    for epoch in range(3):
        shares = [result["seen"][epoch].tolist() for result in (one, two)]
        assert [len(share) for share in shares] == [48, 48]
        assert len({*shares[0], *shares[1]}) == 96
        left_out.append(everything - {*shares[0], *shares[1]})
    assert len(set(map(frozenset, left_out))) > 1


def test_validation_figures_are_those_of_one_process(both: list[dict[str, Any]], tmp_path: Path) -> None:
    """41 images: one process has 21 in 6 batches of 4, the other 20 in 5."""
    one, two = (result["thawing"] for result in both)
    assert one["metrics"] == two["metrics"]
    for state, metrics in zip(one["states"], one["metrics"], strict=True):
        _, net, data = ddp_worker.network_and_data(tmp_path)
        net.load_state_dict(state)
        net.eval()
        labels = data.labels[data.split.val]
        with torch.no_grad():
            logits = net(data.inputs[data.split.val])
        assert metrics["val/acc"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()), abs=1e-7)
        loss = float(nn.functional.cross_entropy(logits, labels))
        assert metrics["val/loss"] == pytest.approx(loss, rel=1e-5)


def test_processes_hear_each_other(both: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(both):
        talk = result["talk"]
        assert talk["gathered"].tolist() == [[0, 0], [1, 10]]
        assert torch.equal(talk["average"][0], torch.full((2, 3), 0.5))
        assert float(talk["average"][1]) == 3.5
        assert talk["before"] == "bias"
        assert talk["bias"].tolist() == [0.0, 0.0]
        assert talk["after"] == [None, None]
        assert rank in (0, 1)


def test_alone_a_process_hears_itself() -> None:
    value = torch.rand(3)
    kept = value.clone()
    average([value])
    assert world() == 1
    assert gathered(value) is value
    assert torch.equal(value, kept)
    assert first_difference(nn.Linear(2, 2)) is None


def test_replayed_examples_differ_as_far_as_there_are_enough(both: list[dict[str, Any]]) -> None:
    many, few = zip(*(result["talk"]["draws"] for result in both), strict=True)
    assert [len(set(draw.tolist())) for draw in many] == [8, 8]
    assert not set(many[0].tolist()) & set(many[1].tolist())
    assert [sorted(draw.tolist()) for draw in few] == [list(range(6))] * 2


@pytest.mark.parametrize("name", ddp_worker.METHODS)
def test_a_method_and_its_buffer_are_the_same_in_both(both: list[dict[str, Any]], name: str) -> None:
    one, two = (result["continual"][name] for result in both)
    assert equal(one["net"], two["net"])
    assert equal(one["method"], two["method"])
    assert one["offered"] == two["offered"]
    assert two["rows"] == []  # the first process alone measures
    assert len(one["rows"]) == 2


def test_the_buffer_is_offered_every_image_of_both_processes(both: list[dict[str, Any]], tmp_path: Path) -> None:
    """100 images, 50 a task, two epochs; after the first task a sample of a quarter of it would miss a share."""
    kept = both[0]["continual"]["er"]
    assert kept["offered"] == 200
    pool = ddp_worker.loop_of(tmp_path, "er", ReadOnlyRunDirectory(tmp_path)).stream.source.pool
    known = {image.numpy().tobytes(): int(label) for image, label in zip(pool.images, pool.labels, strict=True)}
    stored = zip(kept["method"]["buffer.inputs"], kept["method"]["buffer.labels"], strict=True)
    assert all(known[image.numpy().tobytes()] == int(label) for image, label in stored)
    assert both[0]["continual"]["agem"]["offered"] == 100  # each image once, at its task's end


def test_the_accuracy_matrix_is_that_of_one_process(both: list[dict[str, Any]], tmp_path: Path) -> None:
    loop = ddp_worker.loop_of(tmp_path, "er", ReadOnlyRunDirectory(tmp_path))
    loop.net.load_state_dict(both[0]["continual"]["er"]["net"])
    assert loop.accuracies(1, loop.test_inputs, test=True) == both[0]["continual"]["er"]["rows"][1]
