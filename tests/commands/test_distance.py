"""`tlcl distance`: the figures of two domains for a run's network, as a table and as JSON."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.commands.calls import call_command
from tests.conftest import composed, go
from tlcl.adaptation.distance import leep, logme, mmd_distance, proxy_a_distance
from tlcl.commands.distance import main
from tlcl.data.image_tensors import ImageTensors
from tlcl.data.sources.digits import load_digits
from tlcl.jobs import distance
from tlcl.jobs import finetune as finetuning
from tlcl.jobs.finished import load_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CNN that knows the digits somewhat."""
    model = ["model=small_cnn", "model.input_size=16", "thaw=all", "trainer.select=last"]
    optim = ["optim.name=adamw", "optim.lr=0.003", "optim.block_lr_decay=1.0", "trainer.epochs=8"]
    path = tmp_path_factory.mktemp("trained")
    return go(composed(path, *model, *optim, "data.train_size=600"), finetuning.run)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))


call = partial(call_command, main, "tlcl distance")


def class_folder(root: Path, invert: bool) -> Path:
    """A hundred real digits as files, a folder a class."""
    source = load_digits().pool
    for index in range(100):
        pixels = source.images[index, 0]
        place = root / str(int(source.labels[index]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 - pixels if invert else pixels).numpy()).save(place / f"{index}.png")
    return root


def test_figures_are_those_of_the_functions(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("rendered_digits", "digits", "--model", str(trained), "--images", "150", "--json", "--seed", "3")
    code, out, _ = call(monkeypatch, capsys, *arguments)
    assert code == 0
    result = json.loads(out)
    assert (result["source_images"], result["target_images"], result["target_classes"]) == (150, 150, 10)
    net, _, _ = load_run(trained)
    assert hasattr(net, "features")
    ours, theirs = (
        distance.some(distance.load_domain(name, 64, Path("unused")), 150, 3) for name in arguments[:2]
    )
    with torch.no_grad():
        features = [net.eval().features(part.images).numpy() for part in (ours, theirs)]
        probabilities = net(theirs.images).softmax(1).numpy()
    assert result["a_distance"] == pytest.approx(proxy_a_distance(*features, 3), abs=0.02)
    assert result["mmd"] == pytest.approx(mmd_distance(*features), abs=1e-3)
    assert result["leep"] == pytest.approx(leep(probabilities, theirs.labels.numpy()), abs=1e-3)
    assert result["logme"] == pytest.approx(logme(features[1], theirs.labels.numpy()), abs=1e-3)


def test_the_target_is_nearer_to_itself_than_to_its_negative(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the network, which knows the digits, suits them better than their negatives."""
    same, negative = class_folder(tmp_path / "same", False), class_folder(tmp_path / "negative", True)
    options = ("--model", str(trained), "--images", "100", "--size", "8", "--json")
    near, far = (
        json.loads(call(monkeypatch, capsys, "digits", str(folder), *options)[1]) for folder in (same, negative)
    )
    assert near["a_distance"] < far["a_distance"] <= 2
    assert near["mmd"] < far["mmd"]
    assert near["leep"] > far["leep"]


def test_prints_a_table(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("digits", "digits", "--model", str(trained), "--images", "60", "--block", "layer1")
    code, out, _ = call(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "small_cnn" in out
    assert "layer1" in out
    for name, _ in distance.FIGURES.values():
        assert name in out
    assert "MMD                  0.000" in out


def test_help_names_the_papers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    for paper in ("Ben-David", "Gretton", "Nguyen", "You et al."):
        assert paper in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "digits"], "nowhere is neither one of digits, letters, rendered_digits nor a folder"),
        (["digits", "{empty}"], "holds no readable image"),
        (["digits", "digits", "--images", "1"], "--images=1 must be at least 2"),
        (["digits", "digits", "--model", "{empty}"], "is no finished tlcl run"),
        (["digits", "digits", "--model", "{trained}", "--block", "layer9"], "--block=layer9 is not one of stem"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    trained: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [part.format(empty=tmp_path / "empty", trained=trained) for part in arguments]
    code, out, err = call(monkeypatch, capsys, *filled)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_images_are_drawn_by_the_seed_alone() -> None:
    pool = load_digits().pool
    first, again, other = (distance.some(pool, 50, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.labels, other.labels)
    assert len(distance.some(pool, 10**6, 0)) == len(pool)


def test_images_are_drawn_whatever_their_order() -> None:
    pool = load_digits().pool
    mixed = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
    other = ImageTensors(pool.images[mixed], pool.labels[mixed], pool.classes)
    assert torch.equal(distance.some(pool, 50, 0).images, distance.some(other, 50, 0).images)
