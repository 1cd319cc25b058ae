"""Responses of a network to a domain's test images."""

import pytest
import torch
from torch import Tensor

from tlcl.adaptation.evaluate import Responses, a_distance, reading_order, responses, sample
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.image_tensors import ImageTensors
from tlcl.models.build import build_model
from tlcl.models.inference import predict
from tlcl.models.small_cnn import SmallCNNConfig
from tlcl.seeding import generator

CPU = torch.device("cpu")


def images(count: int) -> Tensor:
    return torch.randint(256, (count, 1, 16, 16), dtype=torch.uint8, generator=generator(count, "images"))


def test_they_are_each_images_own() -> None:
    net, _ = build_model(SmallCNNConfig(name="small_cnn", weights="none", input_size=16), 3, seed=0)
    given = images(40)
    found = responses(net, given, "features", CPU, "32-true")
    torch.testing.assert_close(found.probabilities, predict(net, given, batch_size=40))
    with torch.no_grad():
        torch.testing.assert_close(found.vectors, net(given, stop="features"))


def test_no_order_of_files_has_a_part_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels that compute a small last batch otherwise, as some do."""
    net, _ = build_model(SmallCNNConfig(name="small_cnn", weights="none", input_size=16), 3, seed=0)
    plain = net.inputs.forward
    monkeypatch.setattr(net.inputs, "forward", lambda batch: plain(batch) * (1 + 0.3 * (len(batch) < EVAL_BATCH)))
    source, target = images(EVAL_BATCH + 44), images(60)
    other = torch.randperm(len(source), generator=generator(0, "order"))

    def seen(given: Tensor) -> Responses:
        data = ImageTensors(given, torch.zeros(len(given), dtype=torch.int64), ("a", "b", "c"))
        return responses(net, given, "features", CPU, "32-true", order=reading_order(data))

    first, again = seen(source), seen(source[other])
    assert torch.equal(again.vectors, first.vectors[other])
    assert torch.equal(again.probabilities, first.probabilities[other])
    beside = seen(target)
    assert a_distance([again, beside], [sample(source[other]), sample(target)]) == a_distance(
        [first, beside], [sample(source), sample(target)]
    )
