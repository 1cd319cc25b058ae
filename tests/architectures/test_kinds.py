"""What tlcl does with a network, on one of each of five kinds: convolutions of three sorts, tokens and windows."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import composed, go
from tests.jobs.conftest import TASKS, Killed, kill_at_batch, same_finetuning, summary
from tlcl.explain.gradcam import block_of_maps
from tlcl.jobs.explain import explain
from tlcl.jobs.finished import load_run
from tlcl.models.blocks import Blocks
from tlcl.models.inference import predict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]
# Kind, network, input size, and a block in its middle.
KINDS = {
    "ResNet": ("test_resnet", 64, "layer2"),
    "EfficientNet": ("test_efficientnet", 64, "blocks_2"),
    "ConvNeXt": ("test_convnext", 64, "stages_1"),
    "ViT": ("test_vit", 64, "blocks_2"),
    "Swin": ("swin_tiny_patch4_window7_224", 64, "layers_1"),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def model(kind: str) -> list[str]:
    arch, size, _ = KINDS[kind]
    few = ["data.train_size=48", "data.val_size=20"]
    return ["model=timm", f"model.arch={arch}", f"model.input_size={size}", *few]


def finetuned(path: Path, kind: str, *overrides: str) -> Path:
    thaw = ["thaw=milestones", "+thaw.0=0", "+thaw.1=1", "+thaw.2=all"]
    return go(composed(path, *model(kind), "data.crop_padding=0", "trainer.epochs=3", *thaw, *overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fine-tuned run of each kind, filled as it is asked for."""
    return {}


def run_of(kind: str, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if kind not in finished:
        finished[kind] = finetuned(tmp_path_factory.mktemp(kind), kind)
    return finished[kind]


@EVERY
def test_a_cached_run_is_the_run_without_a_cache_and_a_killed_one_too(
    kind: str,
    tmp_path: Path,
    finished: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cached = run_of(kind, finished, tmp_path_factory)
    assert len(summary(cached)["prefix_cache"]) == 4
    without = finetuned(tmp_path / "off", kind, "data.cache_prefix=off")
    same_finetuning(without, cached)
    kill_at_batch(monkeypatch, 1, 1)
    with pytest.raises(Killed):
        finetuned(tmp_path / "killed", kind)
    same_finetuning(finetuned(tmp_path / "killed", kind), cached)


@EVERY
def test_timm_answers_as_the_run_did(
    kind: str, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`model.safetensors` in a plain network of timm, on images prepared as its README says."""
    path = run_of(kind, finished, tmp_path_factory)
    net, _, config = load_run(path)
    assert isinstance(net, Blocks)
    known = timm.get_pretrained_cfg(config.model.arch)  # type: ignore[attr-defined]
    sizes = {"img_size": config.model.input_size} if known.fixed_input_size else {}
    other = timm.create_model(config.model.arch, num_classes=10, **sizes)  # type: ignore[attr-defined]
    other.load_state_dict(load_file(path / "model.safetensors"))
    images = torch.randint(0, 256, (6, 3, config.model.input_size, config.model.input_size), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (known.mean, known.std))
    with torch.no_grad():
        theirs = other.eval()((images / 255 - mean) / std).softmax(1)
    torch.testing.assert_close(predict(net, images, batch_size=6), theirs, rtol=1e-4, atol=1e-5)


@EVERY
def test_what_is_explained_is_finite_and_of_the_place(
    kind: str, tmp_path: Path, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = run_of(kind, finished, tmp_path_factory)
    random = np.random.default_rng(0)
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(random.integers(0, 256, (70, 70, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    for block in (None, KINDS[kind][2]):
        classes = ["predicted", "runner-up"]
        page = explain(path, [folder], out=tmp_path / f"out_{block}", block=block, classes=classes)
        assert page.read_text().count("data:image/png") >= 3
    net, _, _ = load_run(path)
    assert isinstance(net, Blocks)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    found = net.maps(block_of_maps(net, image, None), net(image, stop=block_of_maps(net, image, None)))
    assert found is not None
    assert min(found.shape[2:]) >= 2


@EVERY
@pytest.mark.parametrize("method", ["er", "ewc", "slda"])
def test_continual_learning(kind: str, method: str, tmp_path: Path) -> None:
    """The figures are there, and another run of the same has the same weights."""
    extra = ["method.fisher_images=8"] if method == "ewc" else []
    keys = [key for key in TASKS if not key.startswith(("model.", "thaw.", "trainer.epochs"))]
    keys += [*model(kind), f"method={method}", "thaw.depth=1", "trainer.epochs=1", "data.crop_padding=0", *extra]
    path = go(composed(tmp_path, *keys))
    matrix = json.loads((path / "accuracy_matrix.json").read_text())["matrix"]
    assert [len([value for value in row if value is not None]) for row in matrix] == [1, 2, 3]
    again = go(composed(tmp_path / "again", *keys))
    assert (again / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()


@EVERY
@pytest.mark.parametrize("method", ["dann", "mmd", "ccsa"])
def test_adaptation(kind: str, method: str, tmp_path: Path) -> None:
    """On the outputs of a block in the middle and of the last one; the alignment's gradient reaches that block."""
    keys = [
        "data@source=rendered_digits", "source.images_per_class=6", "source.val_size=10", "source.batch_size=24",
        "data.batch_size=24", "thaw=all", "trainer.epochs=1", "trainer.select=last", "optim.lr=0.01",
        f"adaptation={method}", *(["adaptation.target_labels=2"] if method == "ccsa" else []),
    ]  # fmt: skip
    for block in (KINDS[kind][2], "features"):
        path = go(composed(tmp_path / block, *model(kind), *keys, f"adaptation.block={block}"))
        found = summary(path)
        assert 0 <= found["test_acc"] <= 1
        assert 0 <= found["a_distance"] <= 2
        assert np.isfinite(found["test_loss"])
