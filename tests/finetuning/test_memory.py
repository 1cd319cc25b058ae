"""What a step keeps, against a count by hand."""

import pytest
import torch
from torch import nn

from tlcl.config.thaw import ThawSchedule
from tlcl.finetuning.memory import step_bytes
from tlcl.finetuning.thaw import set_trainable
from tlcl.models.blocks import Blocks, InputTransform
from tlcl.models.build import build_model
from tlcl.models.small_cnn import SmallCNNConfig


def two_layers() -> Blocks:
    """4 x 4 pixels in colour, one layer of 8 units, one of 3."""
    transform = InputTransform(4, (0.5,) * 3, (0.5,) * 3)
    blocks = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU()),
        "head": nn.Sequential(nn.Linear(8, 3)),
    }
    return Blocks(transform, blocks)


def test_the_bytes_are_those_of_a_count_by_hand() -> None:
    net, images = two_layers(), torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
    set_trainable(net, frozenset({"head"}))
    # The head keeps its inputs (5, 8) and the loss log-softmax (5, 3), labels (5,) of 8 bytes and a total weight.
    kept = 4 * (5 * 8 + 5 * 3) + 8 * 5 + 4
    head = 4 * (8 * 3 + 3)
    assert step_bytes(net, None, images, "sgd", "32-true") == kept + 2 * head
    assert step_bytes(net, None, images, "adamw", "32-true") == kept + 3 * head
    set_trainable(net, frozenset({"stem", "head"}))
    # The first layer keeps its inputs (5, 48) besides; what the ReLU keeps is the head's inputs.
    stem = 4 * (48 * 8 + 8)
    assert step_bytes(net, None, images, "sgd", "32-true") == kept + 4 * 5 * 48 + 2 * (head + stem)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_deeper_and_larger_batches_keep_more(optimizer: str) -> None:
    net, _ = build_model(SmallCNNConfig("small_cnn", "none", 32), 10, 0)
    sizes = []
    for depth in range(5):
        set_trainable(net, ThawSchedule.from_depth(depth, net.names).trainable(0))
        batches = (torch.zeros(images, 1, 32, 32, dtype=torch.uint8) for images in (8, 16))
        few, many = (step_bytes(net, None, batch, optimizer, "32-true") for batch in batches)
        states = {"sgd": 2, "adamw": 3}[optimizer]
        trained = sum(weight.nbytes for weight in net.parameters() if weight.requires_grad)
        assert many - states * trained == pytest.approx(2 * (few - states * trained), rel=0.01)
        sizes.append(few)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 5
