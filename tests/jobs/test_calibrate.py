"""Temperatures of whole runs: fitted on held-out images, made again here from the parts."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed, go
from tests.jobs.conftest import predictions, summary
from tlcl.config.parse import parse_config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.sources.registry import load_source
from tlcl.finetuning.fitted_head import choose_penalty
from tlcl.jobs.calibrate import HeldOut, calibrate, calibration_record
from tlcl.jobs.finished import class_probabilities, load_run
from tlcl.models.build import build_model
from tlcl.models.inference import in_batches
from tlcl.statistics.calibration import FEWEST, fit_temperature, negative_log_likelihood, reliability

SMALL = ["model=small_cnn", "model.input_size=16", "data.train_size=300", "data.val_size=80", "thaw.depth=4"]


def said(count: int, *, right: bool = False) -> HeldOut:
    random = np.random.default_rng(2)
    given = random.dirichlet(np.ones(3), count)
    labels = given.argmax(1) if right else random.integers(3, size=count)
    return HeldOut(torch.from_numpy(given), torch.from_numpy(labels), "images")


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(composed(tmp_path_factory.mktemp("trained"), *SMALL, "trainer.epochs=4", "optim.lr=0.05"))


def test_too_few_images_and_none_wrong_have_a_reason() -> None:
    few = calibrate(said(FEWEST - 1))
    assert few.temperature is None
    assert "19 held-out images are too few" in str(few.reason)
    assert len(few.scores) == few.images == 19
    sure = calibrate(said(50, right=True))
    assert sure.temperature is None
    assert "all 50 held-out images are right" in str(sure.reason)
    assert calibrate(said(0)).images == 0
    record = calibration_record(few, *said(30)[:2])  # type: ignore[arg-type]
    assert record["temperature"] is record["test_ece_after"] is record["test_nll_after"] is None
    assert record["test_ece_before"] > 0


def test_a_temperature_and_scores() -> None:
    known = said(200)
    found = calibrate(known)
    assert found.temperature == fit_temperature(known.probabilities, known.labels)
    assert found.reason is None
    true = known.probabilities[torch.arange(200), known.labels]
    assert list(found.scores) == sorted((1 - true).tolist())


def test_a_trained_network_is_calibrated_on_its_validation_images(trained: Path, tmp_path: Path) -> None:
    net, _, config = load_run(trained)
    source = load_source(config.data, str(tmp_path / "cache"))
    data = ImageDataModule(source, config.data, config.seed)
    val = data.split.val
    held_out = class_probabilities(net, data.inputs[val], config, batch_size=256, progress=False).numpy()
    record, tested = summary(trained), predictions(trained)
    expected = fit_temperature(held_out, data.labels[val])
    found = record["calibration"]
    assert found["temperature"] == pytest.approx(expected, rel=1e-3)
    assert (found["images"], found["reason"], found["held_out"]) == (80, None, "validation images")
    assert found["test_nll_before"] == pytest.approx(record["test_loss"], rel=1e-5)
    softer = torch.from_numpy(tested["probabilities"]).double().log() / found["temperature"]
    after = softer.softmax(1).numpy()
    assert found["test_nll_after"] == pytest.approx(negative_log_likelihood(after, tested["labels"]), rel=1e-6)
    assert found["test_ece_before"] == reliability(tested["probabilities"], tested["labels"]).ece
    assert found["test_ece_after"] == pytest.approx(reliability(after, tested["labels"]).ece, abs=1e-9)
    kept = json.loads((trained / "calibration.json").read_text())
    assert kept["temperature"] == found["temperature"]
    true = held_out[np.arange(80), data.labels[val].numpy()]
    assert np.allclose(kept["scores"], np.sort(1 - true), atol=1e-5)
    with open(trained / "test_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = source.test.classes
    assert [row["file"] for row in rows] == [str(number) for number in range(len(after))]
    assert [row["label"] for row in rows] == [classes[label] for label in tested["labels"]]
    assert [row["prediction"] for row in rows] == [classes[answer] for answer in after.argmax(1)]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(after.max(1).tolist(), abs=1e-6)


def test_a_fitted_head_is_calibrated_by_cross_validation(tmp_path: Path) -> None:
    path = go(composed(tmp_path, *SMALL, "optim.head=fitted", "thaw.depth=0", "data.crop_padding=0"))
    config = parse_config(composed(tmp_path, *SMALL, "optim.head=fitted", "thaw.depth=0", "data.crop_padding=0"))
    source = load_source(config.data, str(tmp_path / "cache"))
    data = ImageDataModule(source, config.data, config.seed)
    net, _ = build_model(config.model, 10, config.seed)
    train = data.split.train.sort().values
    features = in_batches(net.eval().features, data.inputs[train], batch_size=100)
    labels = data.labels[train]
    chosen = choose_penalty(features, features, labels, 10, config.seed)
    found = summary(path)["calibration"]
    expected = fit_temperature(chosen.held_out.softmax(1).numpy(), labels)
    assert found["temperature"] == pytest.approx(expected, rel=0.02)
    assert found["images"] == 300
    assert "each held out once" in found["held_out"]


def test_a_method_whose_scores_have_a_temperature_needs_no_second_one(tmp_path: Path) -> None:
    """What is recorded is what `predict` says again: divided once."""
    path = go(composed(tmp_path, *SMALL[:2], "continual=class_incremental", "method=slda", "trainer.select=last"))
    assert summary(path)["calibration"]["temperature"] != 1
    assert json.loads((path / "calibration.json").read_text())["temperature"] is None
    with open(path / "test_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tested = predictions(path)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(
        tested["probabilities"].max(1).tolist(), abs=1e-6
    )
