"""`tlcl export`: what it writes answers as `tlcl predict` does, and what cannot be exported is said."""

import csv
import io
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

import onnx
import pytest
import torch
from PIL import Image

from tests.commands.calls import call_command
from tests.conftest import composed, go
from tlcl.commands.export import main
from tlcl.data.images.decode import decode_image
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError
from tlcl.jobs import continual
from tlcl.jobs import export as job
from tlcl.jobs import finetune as finetuning
from tlcl.jobs.finished import classify
from tlcl.models.onnx import run_onnx

MODEL = ["model=small_cnn", "model.input_size=32", "thaw=all", "optim.name=adamw", "optim.lr=0.003"]
CALIBRATION = {"temperature": None, "reason": "", "images": 90, "held_out": "held-out images", "scores": []}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    return go(composed(path, *MODEL, "trainer.epochs=4", "data.train_size=300"), finetuning.run)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copied"))


call = partial(call_command, main, "tlcl export")


def digits(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(load_digits().test.images[number, 0].numpy()).resize((20, 20)).save(file)
    return files


def predicted(run: Path, files: list[Path]) -> torch.Tensor:
    table = classify(run, files, batch_size=64, skip_bad=False, progress=False).csv()
    rows = csv.DictReader(io.StringIO(table))
    return torch.tensor([[float(row[f"p({digit})"]) for digit in range(10)] for row in rows])


def test_it_answers_as_predict_does_and_says_what_it_takes(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(monkeypatch, capsys, copied)
    assert (code, err) == (0, "")
    first, checked, recorded = out.splitlines()
    kept = json.loads((copied / "calibration.json").read_text())["temperature"]
    assert first == f"exported: {copied / 'model.onnx'}"
    assert checked.endswith("8 random and 256 test images")
    assert recorded.endswith("in 32-true")
    content = (copied / "model.onnx").read_bytes()
    about = {item.key: item.value for item in onnx.load_from_string(content).metadata_props}
    assert json.loads(about["classes"]) == [str(digit) for digit in range(10)]
    assert (about["size"], about["channels"], about["temperature"]) == ("8", "1", str(kept))
    files = digits(tmp_path / "images", 9)
    images = torch.stack([decode_image(file.read_bytes(), 8, 1) for file in files])
    answers = run_onnx(content, images)
    assert torch.allclose(answers, predicted(copied, files), atol=2e-6)  # six digits are written
    assert len(answers.argmax(1).unique()) > 3


def test_the_record_is_met_with_and_without_a_temperature(copied: Path) -> None:
    (copied / "calibration.json").write_text(json.dumps(CALIBRATION))
    assert job.export_run(copied, None).recorded == pytest.approx(0, abs=1e-5)
    plain = run_onnx((copied / "model.onnx").read_bytes(), load_digits().test.images[:20])
    (copied / "calibration.json").write_text(json.dumps({**CALIBRATION, "temperature": 2.0}))
    done = job.export_run(copied, copied / "other" / "soft.onnx")
    assert done.recorded == pytest.approx(0, abs=1e-5)
    soft = run_onnx((copied / "other" / "soft.onnx").read_bytes(), load_digits().test.images[:20])
    by_hand = plain.sqrt() / plain.sqrt().sum(1, keepdim=True)  # p ** (1 / T), normalised
    assert torch.allclose(soft, by_hand, atol=1e-5)
    assert soft.max() < plain.max() - 0.01


def test_a_model_that_is_not_the_network_is_not_written(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "run_onnx", lambda content, images: run_onnx(content, images) + 2e-4)
    code, out, err = call(monkeypatch, capsys, copied)
    assert (code, out) == (1, "")
    assert "is not written: its probabilities in onnxruntime are up to 2.0e-04 off" in err
    assert err.count("\n") == 1
    assert not (copied / "model.onnx").exists()


def test_without_its_data_it_is_checked_on_random_images(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object) -> NoReturn:
        raise UserError("data.train=nowhere does not exist")

    monkeypatch.setattr(job, "load_source", gone)
    code, out, err = call(monkeypatch, capsys, copied)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].endswith("8 random images; the test images are not to be had any more")


def test_a_closed_form_head_is_exported_and_a_rule_of_its_own_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*MODEL, "continual=class_incremental", "trainer.epochs=1", "trainer.select=last"]
    slda = go(composed(tmp_path / "slda", *small, "method=slda"), continual.run)
    files = digits(tmp_path / "images", 5)
    done = job.export_run(slda, None)
    assert done.recorded == pytest.approx(0, abs=1e-4)  # its record has the temperature already
    images = torch.stack([decode_image(file.read_bytes(), 8, 1) for file in files])
    answers = run_onnx((slda / "model.onnx").read_bytes(), images)
    assert torch.allclose(answers, predicted(slda, files), atol=1e-4)
    icarl = go(composed(tmp_path / "icarl", *small, "method=icarl"), continual.run)
    capsys.readouterr()
    code, out, err = call(monkeypatch, capsys, icarl)
    assert (code, out) == (2, "")
    assert "answers by the rule of method=icarl" in err
    assert not (icarl / "model.onnx").exists()


def test_the_record_of_a_continual_run_has_its_temperature(tmp_path: Path) -> None:
    small = [*MODEL, "trainer.epochs=1", "trainer.select=last", "method=naive"]
    forgets = go(composed(tmp_path / "naive", *small, "continual=class_incremental"), continual.run)
    fitted = json.loads((forgets / "calibration.json").read_text())["temperature"]
    assert not 0.7 < fitted < 1.4  # applied twice it would show
    assert job.export_run(forgets, None).recorded == pytest.approx(0, abs=1e-5)
    told = go(composed(tmp_path / "told", *small, "continual=task_incremental"), continual.run)
    done = job.export_run(told, None)  # the record is of two classes an image, the model's answers of all
    assert done.recorded is None
    assert done.tested > 0


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_the_remedy_is_said(
    package: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = call(monkeypatch, capsys, trained)
    assert (code, out) == (2, "")
    assert err == f"error: a model is exported with the package {package}: pip install 'tlcl[export]'\n"


@pytest.mark.parametrize(
    ("arguments", "calibration", "sentence"),
    [
        (["{empty}"], None, "is no finished tlcl run"),
        (["{run}", "--out", "{empty}"], None, "cannot be written"),
        (["{run}"], json.dumps({**CALIBRATION, "temperature": 0}), "calibration.json is damaged"),
        (["{run}"], json.dumps({**CALIBRATION, "temperature": "hot"}), "calibration.json is damaged"),
        (["{run}"], '{"temperature": 2', "calibration.json is damaged"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    copied: Path,
    tmp_path: Path,
    arguments: list[str],
    calibration: str | None,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    if calibration is not None:
        (copied / "calibration.json").write_text(calibration)
    filled = [part.format(run=copied, empty=tmp_path / "empty") for part in arguments]
    code, out, err = call(monkeypatch, capsys, *filled)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
