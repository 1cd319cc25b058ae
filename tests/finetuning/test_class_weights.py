"""Class weights and balanced batches, against scikit-learn, and in whole runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning, summary
from tlcl.config.parse import parse_config
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError
from tlcl.finetuning.class_weights import balanced_weights, cross_entropy
from tlcl.jobs import finetune as module
from tlcl.tracking.records import read_lines

RUN = ["model=small_cnn", "data.crop_padding=0", "trainer.epochs=4", "optim.lr=0.1", "data.train_size=null"]


def test_weights_are_scikit_learns() -> None:
    labels = torch.tensor([0] * 50 + [1] * 5 + [3] * 10)
    weights = balanced_weights(labels, 5)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels.numpy())
    assert np.allclose(weights[[0, 1, 3]].numpy(), expected)
    assert weights[[2, 4]].tolist() == [0, 0]
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_the_mean_over_batches_is_the_mean_over_the_images() -> None:
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 4, generator=random), torch.randint(0, 4, (60,), generator=random)
    weights = torch.tensor([0.2, 3.0, 1.0, 0.5])
    whole = cross_entropy(logits, labels, weights)
    parts = [cross_entropy(logits[at : at + 10], labels[at : at + 10], weights) for at in range(0, 60, 10)]
    assert torch.allclose(torch.stack(parts).mean(), whole)
    # torch divides the same sum by that of the weights.
    theirs = nn.functional.cross_entropy(logits, labels, weights) * weights[labels].mean()
    assert torch.allclose(whole, theirs)
    equal = torch.ones(4)
    assert torch.allclose(cross_entropy(logits, labels, equal, 0.1), cross_entropy(logits, labels, None, 0.1))


@pytest.fixture
def uneven(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Digits of which 4, 7 and 9 are rare to train on; the test images are as they are, but for the nines."""
    monkeypatch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
    monkeypatch.setattr(module, "similarities_on", lambda *_: None)
    whole = load_digits()
    rare = torch.isin(whole.pool.labels, torch.tensor([4, 7, 9]))
    few = [(whole.pool.labels == label).nonzero().squeeze(1)[:12] for label in (4, 7, 9)]
    kept = torch.cat([(~rare).nonzero().squeeze(1), *few])
    tested = whole.test.labels != 9
    source = Source(
        ImageTensors(whole.pool.images[kept], whole.pool.labels[kept], whole.pool.classes),
        ImageTensors(whole.test.images[tested], whole.test.labels[tested], whole.test.classes),
    )
    monkeypatch.setattr(module, "load_source", lambda *_: source)
    return source


def run_in(path: Path, name: str, *overrides: str) -> Path:
    config = composed(path, *RUN, *overrides)
    config.run_dir = str(path / name)
    return go(config)


def test_figures_by_class_are_recorded_and_choose_the_epoch(tmp_path: Path, uneven: Source) -> None:
    path = run_in(tmp_path, "plain", "trainer.monitor=balanced_accuracy")
    lines, found = read_lines(path / "metrics.jsonl"), summary(path)
    best = max(lines, key=lambda line: (line["val/balanced_acc"], -line["val/loss"], -line["epoch"]))
    assert found["selected"]["epoch"] == best["epoch"]
    assert found["selected_by"] == "the epoch with the highest balanced validation accuracy"
    assert all(0 <= line["val/macro_f1"] <= 1 for line in lines)
    with np.load(path / "test_predictions.npz") as stored:
        labels, answers = stored["labels"], stored["probabilities"].argmax(1)
    assert found["tested_classes"] == 9  # there is no nine to test on
    expected = recall_score(labels, answers, labels=range(9), average="macro")
    assert found["test_balanced_acc"] == pytest.approx(expected, abs=1e-6)
    theirs = f1_score(labels, answers, labels=range(9), average="macro")
    assert found["test_macro_f1"] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("key", ["optim.class_weights=balanced", "data.balanced_batches=true"])
def test_rare_classes_are_found_more_often(tmp_path: Path, uneven: Source, key: str) -> None:
    def recall_of_rare(path: Path) -> float:
        with np.load(path / "test_predictions.npz") as stored:
            rare = np.isin(stored["labels"], (4, 7))
            return float((stored["probabilities"].argmax(1) == stored["labels"])[rare].mean())

    plain, evened = run_in(tmp_path, "plain"), run_in(tmp_path, "evened", key)
    assert recall_of_rare(evened) > recall_of_rare(plain) + 0.15
    steps = [[line["step"] for line in read_lines(path / "metrics.jsonl")] for path in (plain, evened)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("key", ["optim.class_weights=balanced", "data.balanced_batches=true"])
def test_a_resumed_run_is_the_same_to_the_bit(
    tmp_path: Path, uneven: Source, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_in(tmp_path, "whole", key, "trainer.monitor=macro_f1", "optim.label_smoothing=0.1")
    kill_at_batch(monkeypatch, 2, 1)
    again = ("cut", key, "trainer.monitor=macro_f1", "optim.label_smoothing=0.1")
    with pytest.raises(Killed):
        run_in(tmp_path, *again)
    same_finetuning(whole, run_in(tmp_path, *again))


def test_a_fitted_head_is_balanced_by_either_key(tmp_path: Path, uneven: Source) -> None:
    keys = ([], ["optim.class_weights=balanced"], ["data.balanced_batches=true"])
    runs = [run_in(tmp_path, f"{n}", "optim.head=fitted", *one) for n, one in enumerate(keys)]
    plain, weighted, drawn = (summary(path) for path in runs)
    assert weighted["model_sha256"] == drawn["model_sha256"] != plain["model_sha256"]
    assert weighted["test_balanced_acc"] > plain["test_balanced_acc"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["optim.class_weights=balanced", "data.balanced_batches=true"], "both give every class the same say"),
        (["optim.class_weights=some"], "optim.class_weights"),
        (["continual=class_incremental", "method=er", "trainer.select=last", "optim.class_weights=balanced"],
         "optim.class_weights=balanced is for fine-tuning alone"),
        (["continual=class_incremental", "method=er", "trainer.select=last", "data.balanced_batches=true"],
         "data.balanced_batches=True is for fine-tuning alone"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_config(composed(tmp_path, *overrides))
