"""The exported model against the network it comes from."""

import json

import onnx
import pytest
import torch

from tests.conftest import ROOT
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.models.build import build_model
from tlcl.models.onnx import ClassProbabilities, run_onnx, to_onnx


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size", "input_size"),
    [
        ("small_cnn", 8, 32),  # enlarged
        ("resnet18", 64, 64),  # as it is
        pytest.param("efficientnet_lite0", 150, 64, marks=pytest.mark.slow),  # made smaller, with antialiasing
    ],
)
def test_probabilities_are_the_networks_whatever_the_batch(
    name: str, size: int, input_size: int, channels: int
) -> None:
    options = [f"model={name}", f"model.input_size={input_size}", "model.weights=none", "logger=none"]
    net, _ = build_model(parse_config(composed_config(options)).model, 7, seed=0)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, channels, size, size), generator=random).to(torch.uint8)
    net.train()  # BatchNorm with figures of its own: the running means of a fresh network are 0, the variances 1
    net(images)
    net.eval()
    with torch.inference_mode():
        net.classifier.weight.mul_(5 / net(images).std(0).mean())  # so that answers differ among images
        net.classifier.bias.sub_(net(images).mean(0))
        expected = (net(images) / 2.5).softmax(1)
    assert expected.std(0).max() > 0.1
    content = to_onnx(ClassProbabilities(net, 2.5), (channels, size, size), {"classes": json.dumps(["ä"])})
    assert torch.allclose(run_onnx(content, images), expected, atol=1e-5)
    assert torch.allclose(run_onnx(content, images[3:4]), expected[3:4], atol=1e-5)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert json.loads({item.key: item.value for item in model.metadata_props}["classes"]) == ["ä"]
    for trace in (b"File \"", str(ROOT).encode(), b"site-packages"):
        assert trace not in content, "where the network and the exporter lie on this machine is nobody's business"


def test_what_cannot_be_exported_is_one_sentence() -> None:
    class ByItsValues(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((2, 3)) if images.sum() > 3 else images.float().amax((2, 3))

    with pytest.raises(UserError, match="cannot be exported to ONNX") as caught:
        to_onnx(ClassProbabilities(ByItsValues(), 1.0), (3, 4, 4), {})
    assert "\n" not in str(caught.value)
