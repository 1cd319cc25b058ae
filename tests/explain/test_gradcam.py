"""Grad-CAM: against CAM where both are defined, against finite differences, and for every kind of classifier."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed, go
from tlcl.errors import UserError
from tlcl.explain.gradcam import block_of_maps, class_maps, grad_cam, network_of, scores_after
from tlcl.jobs import continual, job
from tlcl.jobs.finished import load_run
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.models.small_cnn import SmallCNNConfig


def network(size: int = 96) -> Blocks:
    return build_model(ResNet18Config("resnet18", "none", size), 10, seed=0)[0].eval()


def photos(count: int, size: int = 96) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_equals_cam_behind_global_average_pooling() -> None:
    """Zhou et al. 2016: the class's weights times the activations; here exactly, over the number of places."""
    net, classes = network(), torch.tensor([3, 7, 3])
    with torch.no_grad():
        activations = net(photos(3), stop="layer4")
        weights = net.classifier.weight[classes]
    cam = (weights[:, :, None, None] * activations).sum(1)
    assert bool((cam < 0).any())
    assert bool((cam > 0).any())
    found = grad_cam(activations, scores_after(net, "layer4", channels_last=False), classes)
    torch.testing.assert_close(found, cam.relu() / 9, rtol=1e-4, atol=1e-7)


def test_weights_are_mean_derivatives() -> None:
    """alpha_k is how the score changes as a whole channel is raised, over the number of places (eq. 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rest = nn.Sequential(
            nn.Conv2d(4, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 5), nn.Softplus()
        ).double()
        activations = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    classes, step = torch.tensor([4, 1]), 1e-5
    alpha = torch.zeros(2, 4, dtype=torch.float64)
    with torch.no_grad():
        for channel in range(4):
            raised = torch.zeros(4, 1, 1, dtype=torch.float64)
            raised[channel] = step
            slope = (rest(activations + raised) - rest(activations - raised)) / (2 * step)
            alpha[:, channel] = slope[[0, 1], classes] / 30
    expected = (alpha[:, :, None, None] * activations).sum(1).clamp_min(0)
    torch.testing.assert_close(grad_cam(activations, rest, classes), expected, rtol=1e-6, atol=1e-10)


def test_a_map_is_of_its_image_and_class_alone() -> None:
    net, images = network(64), photos(5, 64)
    classes = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    maps = class_maps(net, images, "layer3", classes, channels_last=False, progress=False)
    assert maps.shape == (5, 2, 4, 4)
    alone = class_maps(net, images[3:4], "layer3", classes[3:4, 1:], channels_last=False, progress=False)
    torch.testing.assert_close(maps[3:4, 1:], alone, rtol=1e-3, atol=1e-7)
    assert not torch.allclose(maps[:, 0], maps[:, 1])
    assert all(parameter.grad is None for parameter in net.parameters())


def test_nothing_speaks_for_a_class_of_negative_weights() -> None:
    net = network()
    with torch.no_grad():
        net.classifier.weight[2] = -1
    maps = class_maps(net, photos(2), "layer4", torch.tensor([[2, 5]] * 2), channels_last=True, progress=False)
    assert not bool(maps[:, 0].any())
    assert bool(maps[:, 1].any())


def test_the_block_without_a_wish_is_the_last_that_is_not_too_coarse() -> None:
    assert [block_of_maps(network(size), photos(1, 8), None) for size in (32, 64, 96)] == [
        "layer2",
        "layer3",
        "layer4",
    ]
    assert block_of_maps(network(64), photos(1, 8), "layer4") == "layer4"
    with pytest.raises(UserError, match=r"--block=layer9 is not one of stem, layer1, .*layer4$"):
        block_of_maps(network(64), photos(1, 8), "layer9")
    with pytest.raises(
        UserError, match=r"--block=layer4 has one place .*choose one of stem, layer1, layer2, layer3, or"
    ):
        block_of_maps(network(32), photos(1, 8), "layer4")
    small, _ = build_model(SmallCNNConfig("small_cnn", "none", 16), 10, seed=0)
    assert block_of_maps(small, photos(1, 8), None) == "stem"  # what follows has no height and width
    with pytest.raises(UserError, match="choose one of stem, or"):
        block_of_maps(small, photos(1, 8), "layer3")


def test_looking_changes_no_statistics() -> None:
    net = network(32).train()
    before = copy.deepcopy(net.state_dict())
    block_of_maps(net, photos(1, 8), None)
    class_maps(net, photos(3, 8), "stem", torch.zeros(3, 1, dtype=torch.int64), channels_last=True, progress=False)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "options", [["slda"], ["ranpac", "method.projection=50"], ["icarl", "thaw=all"], ["icarl"]], ids=str
)
def test_a_methods_own_rule_is_what_is_explained(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores from a block on are those of the whole classifier, and they have gradients there."""
    monkeypatch.setattr(job, "render", lambda path: path)
    monkeypatch.setattr(continual, "save_matrix_plots", lambda path: [])
    name, *more = options
    config = composed(
        tmp_path, "continual=class_incremental", "continual.classes_per_task=5", f"method={name}", *more,
        "trainer.select=last", "trainer.epochs=1", "model=small_cnn", "model.input_size=32",
    )  # fmt: skip
    classifier, _, _ = load_run(go(config, continual.run))
    net, images = network_of(classifier.eval()), photos(6, 8)[:, :1]
    with torch.no_grad():
        expected, activations = classifier(images).double(), net(images, stop="layer1")
        found = scores_after(classifier, "layer1", channels_last=True)
        torch.testing.assert_close(found(activations).double(), expected, rtol=1e-3, atol=1e-3)
    best = expected.argmax(1)
    maps = grad_cam(activations, found, best)
    other = grad_cam(activations, found, expected.argmin(1))
    assert bool(maps.isfinite().all())
    assert not torch.equal(maps, other)
