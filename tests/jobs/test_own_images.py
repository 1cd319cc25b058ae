"""A fitted head, and a deeper model only where held-out images say so: whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_call, predictions, same_finetuning, summary
from tlcl.config.parse import parse_config
from tlcl.config.schema import conf_dir
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.sources.registry import load_source
from tlcl.errors import TrainingError, UserError
from tlcl.finetuning.fitted_head import choose_penalty, fit_head
from tlcl.finetuning.module import FinetuningModule
from tlcl.jobs import deeper
from tlcl.jobs import finetune as module
from tlcl.jobs.deeper import evidence_words, halves
from tlcl.jobs.finished import class_probabilities, load_run
from tlcl.jobs.first_answer import labelled_images
from tlcl.models.build import build_model
from tlcl.models.inference import in_batches
from tlcl.statistics.accuracy import accuracy_interval

# On random weights, a deeper model of the digits is better than the head.
OWN = [
    "model=small_cnn", "optim.head=fitted", "optim.name=adamw", "optim.lr=0.003", "optim.block_lr_decay=1.0",
    "data.train_size=null", "data.crop_padding=0", "data.val_size=100", "trainer.epochs=8", "thaw.depth=3",
    "model.input_size=16",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
        patch.setattr(module, "similarities_on", lambda *_: None)
        yield


def run_in(path: Path, *overrides: str, name: str = "run") -> Path:
    config = composed(path, *OWN, *overrides)
    config.run_dir = str(path / name)
    return go(config)


MIXED = ["trainer.frozen_precision=bf16-mixed", "thaw.depth=2"]
# From one place in the network after another.
STEPWISE = [*MIXED[:1], "thaw=milestones", "thaw.depth=null", "+thaw.0=[head]", "+thaw.2=[layer3,layer2]"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("deep"), *MIXED)


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("stepwise"), *STEPWISE)


def test_the_first_answer_is_a_regression_on_the_frozen_features(tmp_path: Path) -> None:
    """Made again here from the parts: features of all labelled images, penalty, head, test images."""
    path = run_in(tmp_path, "thaw.depth=0")
    record, config = summary(path), parse_config(composed(tmp_path, *OWN))
    source = load_source(config.data, str(tmp_path / "cache"))
    net, _ = build_model(config.model, 10, 0)
    parts = source.pool, source.test
    features, asked = (in_batches(net.eval().features, part.images, batch_size=100) for part in parts)
    labels = source.pool.labels
    chosen = choose_penalty(features, features, labels, 10, 0)
    expected = fit_head(features, labels, 10, chosen.penalty).logits(asked).softmax(1)
    # The fit ends by a tolerance.
    assert np.allclose(predictions(path)["probabilities"], expected.numpy(), atol=0.02)
    right = int((expected.argmax(1) == source.test.labels).sum())
    first = record["first_answer"]
    assert record["test_acc"] == first["test_acc"] == right / 400
    assert tuple(first["interval"]) == pytest.approx(accuracy_interval(right, 400))
    assert (first["fitted_on"], first["penalty"]) == (1397, chosen.penalty)
    # In other batches features have other last digits.
    assert (first["cv_acc"], first["cv_loss"]) == pytest.approx((chosen.accuracy, chosen.loss), abs=2e-3)
    assert (record["answer"], record["trained_blocks"]) == ("head", ["head"])
    figures = {"val_acc": first["cv_acc"], "val_loss": first["cv_loss"]}
    assert record["selected"] == {"checkpoint": "head", "epoch": None, **figures}
    assert "deeper" not in record
    assert record["train_size"] == 1397  # no image is given away
    # The exported model is that head on that network.
    exported, *_ = load_run(path)
    with torch.inference_mode():
        again = exported(source.test.images).softmax(1)  # type: ignore[operator]
    assert np.allclose(again.numpy(), predictions(path)["probabilities"], atol=1e-5)


def test_lp_ft_trains_deeper_from_the_fitted_head_without_a_comparison(deep: Path, tmp_path: Path) -> None:
    """Kumar et al. 2022: the same head, the same training, and no halves."""
    path = run_in(tmp_path, *MIXED, "optim.head=lp_ft")
    record = summary(path)
    assert (record["answer"], "deeper" in record) == ("deeper", False)
    assert record["first_answer"]["penalty"] == summary(deep)["first_answer"]["penalty"]
    assert not (path / "deeper.json").exists()
    same_finetuning(deep, path)
    alone = run_in(tmp_path, "thaw.depth=0", "optim.head=lp_ft", name="alone")
    assert summary(alone)["answer"] == "head"


def test_a_deeper_model_that_is_better_is_kept(deep: Path) -> None:
    record = summary(deep)
    pair = record["deeper"]["paired"]
    assert record["answer"] == "deeper"
    assert pair["low"] > 0
    assert pair["difference"] == pytest.approx(record["deeper"]["deeper_acc"] - record["deeper"]["head_acc"])
    assert pair["images"] == 1397  # each labelled image was held out once
    assert record["test_acc"] > record["first_answer"]["test_acc"]
    assert record["trained_blocks"] == ["layer2", "layer3", "head"]
    assert record["selected_by"] == "the epoch with the lowest validation loss"
    lines = [json.loads(line) for line in (deep / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val/loss"] for line in lines]
    assert record["selected"]["epoch"] == losses.index(min(losses))
    assert (record["train_size"], record["val_size"]) == (1297, 100)
    calibration = record["calibration"]
    assert (calibration["held_out"], calibration["images"]) == ("validation images", 100)
    # They are the deeper model's answers, not the head's.
    kept = json.loads((deep / "calibration.json").read_text())
    loss = -np.log(1 - np.array(kept["scores"])).mean()
    assert loss == pytest.approx(record["selected"]["val_loss"], rel=1e-3)
    assert not (deep / "halves").exists()


def test_a_deeper_model_that_is_not_better_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate that teaches nothing, the two answer alike."""
    path = run_in(tmp_path, "optim.lr=1e-9", "trainer.epochs=2")
    record = summary(path)
    assert record["answer"] == "head"
    assert not record["deeper"]["kept"]
    assert abs(record["deeper"]["paired"]["difference"]) < 0.01
    assert record["test_acc"] == record["first_answer"]["test_acc"]
    assert record["trained_blocks"] == ["head"]
    assert not (path / "metrics.jsonl").read_text() if (path / "metrics.jsonl").exists() else True
    # Nothing of the halves is left in what is exported.
    config = parse_config(composed(tmp_path, *OWN))
    start, _ = build_model(config.model, 10, 0)
    exported = load_run(path)[0].state_dict()
    body = [key for key in start.state_dict() if not key.startswith("blocks.head")]
    assert body
    assert all(torch.equal(exported[key], start.state_dict()[key]) for key in body)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "call"),
    [("deep", 1), ("deep", 8), ("deep", 10), ("deep", 18), ("stepwise", 5), ("stepwise", 12)],
)
def test_a_resumed_run_is_the_same_run(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, run: str, call: int
) -> None:
    """Killed as an epoch begins: of eight, in each half, between the two, and in the training proper."""
    deep, overrides = request.getfixturevalue(run), {"deep": MIXED, "stepwise": STEPWISE}[run]
    kill_at_call(monkeypatch, FinetuningModule, "on_train_epoch_start", call)
    with pytest.raises(Killed):
        run_in(tmp_path, *overrides)
    resumed = run_in(tmp_path, *overrides)
    ours, theirs = summary(deep), summary(resumed)
    if ours["answer"] == "deeper":
        same_finetuning(deep, resumed)
    assert (deep / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert (deep / "calibration.json").read_bytes() == (resumed / "calibration.json").read_bytes()
    for key in ("deeper", "answer", "calibration"):
        assert ours[key] == theirs[key]
    assert {**ours["first_answer"], "seconds": 0} == {**theirs["first_answer"], "seconds": 0}
    assert all(np.array_equal(one, predictions(resumed)[key]) for key, one in predictions(deep).items())


@pytest.mark.slow
def test_the_command_on_a_folder_of_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With every default: look, first answer, comparison, answer, in this order; the weights need no download."""
    random = np.random.default_rng(0)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(colour + random.normal(0, 40, (70, 90, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    given = ["+experiment=own_images", f"data.train={tmp_path / 'photos'}", "logger=none", "trainer.progress=false"]
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose("config", given)
    OmegaConf.set_struct(config, False)
    config.run_dir, config.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    with caplog.at_level("INFO"):
        record = summary(go(config))
    said = "\n".join(caplog.messages)
    order = ("40 images of 2", "first answer, ", "deeper model better? layer4, head", "answer: ", "tlcl predict")
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert record["first_answer"]["test_acc"] == 1.0  # red and blue
    assert record["answer"] == "head"  # nothing is better than all right
    assert (record["first_answer"]["fitted_on"], record["test_size"]) == (32, 8)
    assert record["weights"]["source"] == "imagenet"


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_predicted_later_is_what_was_tested(tmp_path: Path, deep: Path, kept: bool) -> None:
    """A head that stays answers on features computed in the frozen blocks' precision, whatever the config thaws."""
    path = deep if kept else run_in(tmp_path, *MIXED, "optim.lr=1e-9", "trainer.epochs=1")
    assert (summary(path)["answer"] == "deeper") == kept
    net, _, config = load_run(path)
    images = load_source(config.data, str(tmp_path / "cache")).test.images
    again = class_probabilities(net, images, config, batch_size=256, progress=False)
    # But for the last digits, which batches of other sizes round otherwise.
    assert np.allclose(again.numpy(), predictions(path)["probabilities"], atol=1e-6)


def test_a_loss_that_is_not_finite_leaves_the_first_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise TrainingError("the training loss is not finite in epoch 0")

    monkeypatch.setattr(deeper.CrossFit, "_trained", fail)
    record = summary(run_in(tmp_path))
    assert record["answer"] == "head"
    assert "not finite in epoch 0" in record["deeper"]["words"]


def test_the_epoch_that_counts_is_not_chosen_on_the_images_that_are_compared(tmp_path: Path) -> None:
    config = parse_config(composed(tmp_path, *OWN))
    theirs = deeper.HeldOutAnswers(None, torch.zeros(2))  # type: ignore[arg-type]
    theirs.losses = [0.9, 0.5, 0.7, 0.4]
    theirs.right = [torch.tensor(right) for right in ([True, True], [False, True], [False, True], [False, False])]
    theirs.by_class = [{"val/balanced_acc": 0.5, "val/macro_f1": figure} for figure in (0.1, 0.4, 0.3, 0.2)]
    assert deeper.chosen_epoch(config, theirs, 4) == 3
    assert deeper.chosen_epoch(config, theirs, 3) == 2  # this half has stopped before
    config.trainer.monitor = "accuracy"
    assert deeper.chosen_epoch(config, theirs, 4) == 0
    config.trainer.monitor = "macro_f1"
    assert deeper.chosen_epoch(config, theirs, 4) == 1
    config.trainer.monitor = "balanced_accuracy"
    assert deeper.chosen_epoch(config, theirs, 4) == 3  # among equals the lowest loss
    config.trainer.select = "last"
    assert deeper.chosen_epoch(config, theirs, 4) == 3


def test_a_number_of_labels_is_kept_to(tmp_path: Path) -> None:
    """With data.train_size the validation images are not fitted to."""
    path = run_in(tmp_path, "data.train_size=60", "thaw.depth=0")
    assert summary(path)["first_answer"]["fitted_on"] == 60
    config = parse_config(composed(tmp_path, *OWN, "data.train_size=60"))
    data = ImageDataModule(load_source(config.data, str(tmp_path / "cache")), config.data, 0)
    assert torch.equal(labelled_images(data), data.split.train)


@pytest.mark.parametrize("counts", [(40,) * 10, (100, 30, 4), (1, 1)])
def test_halves_have_the_classes_in_proportion(counts: tuple[int, ...]) -> None:
    """Equal classes take turns in a stratified order: every second image would be half of the classes."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    ours, others = halves(labels, seed=0)
    assert torch.equal(torch.cat([ours, others]).sort().values, torch.arange(len(labels)))
    for part in (ours, others):
        for label, count in enumerate(counts):
            assert abs(int((labels[part] == label).sum()) - count / 2) <= 1


def test_few_images_are_said_to_be_too_few(tmp_path: Path) -> None:
    record = summary(run_in(tmp_path, "data.train_size=10", "data.val_size=10"))
    assert record["deeper"] == {"images": 10, "kept": False, "words": record["deeper"]["words"]}
    assert "it takes more" in record["deeper"]["words"]


def test_only_so_many_images_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deeper, "MOST", 50)
    labels = torch.arange(200) % 4
    assert sum(map(len, halves(labels, 0))) == 50


@pytest.mark.parametrize(
    ("low", "high", "difference", "words"),
    [
        (0.01, 0.05, 0.03, "kept"),
        (-0.01, 0.03, 0.01, "no more than chance"),
        (-0.05, -0.01, -0.03, "head alone is better"),
    ],
)
def test_the_sentence_says_what_the_test_says(low: float, high: float, difference: float, words: str) -> None:
    pair = {
        "images": 1000, "first_only": 1, "second_only": 2, "difference": difference, "low": low, "high": high,
        "p": 0.01, "level": 0.95,
    }  # fmt: skip
    sentence = evidence_words({"head_acc": 0.7, "deeper_acc": 0.7 + difference, "paired": pair})
    assert words in sentence
    assert f"{100 * abs(difference):.1f} points" in sentence
    assert "1,000 held-out images" in sentence


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["optim.head=fitted", "trainer.devices=2"], ["optim.head=fitted", "trainer.devices=1"]),
        (["optim.head=svm"], ["optim.head='svm'", "new, fitted"]),
        (["+experiment=continual_digits", "optim.head=fitted"], ["optim.head=fitted"]),
        (["+experiment=continual_digits", "data.mixup=0.2"], ["data.mixup=0.2"]),
        (["+experiment=adapt_digits", "trainer.patience=3"], ["trainer.patience=3"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_cannot_go_together_is_one_sentence(tmp_path: Path, overrides: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(composed(tmp_path, *overrides))
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)
