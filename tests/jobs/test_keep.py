"""keep=model: what is left of a finished run predicts, reports and starts others, and trains no further."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_call, predictions, summary
from tlcl.config.parse import parse_config
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError
from tlcl.jobs import finetune as module
from tlcl.jobs.finished import class_probabilities, load_run
from tlcl.reports.report import report

RUN = ["model=small_cnn", "trainer.epochs=2", "thaw.depth=1"]


def files(path: Path) -> set[str]:
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}


def run_in(path: Path, name: str, *overrides: str) -> Path:
    config = composed(path, *RUN, *overrides)
    config.run_dir = str(path / name)
    return go(config)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "similarities_on", lambda *_: None)
        return run_in(path, "all"), run_in(path, "model", "keep=model")


def test_no_checkpoint_is_left_and_all_else_is(both: tuple[Path, Path]) -> None:
    everything, model = both
    assert files(everything) - files(model) == {"checkpoints/last.ckpt"}  # the best weights are the model's
    assert not (model / "checkpoints").exists()
    assert files(model) <= files(everything)
    assert summary(everything)["model_sha256"] == summary(model)["model_sha256"]


def test_what_is_left_predicts_reports_and_starts_others(both: tuple[Path, Path], tmp_path: Path) -> None:
    _, model = both
    net, _, config = load_run(model)
    answers = class_probabilities(net, load_digits().test.images, config, batch_size=64, progress=False)
    assert torch.allclose(answers, torch.from_numpy(predictions(model)["probabilities"]), atol=1e-5)
    assert report(model).stat().st_size > 10_000
    assert parse_config(composed(tmp_path, *RUN, f"model.weights={model}")).model.weights == str(model)


def test_no_training_goes_on_from_it(both: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(both[1], tmp_path / "copy")
    before = {name: (copy / name).read_bytes() for name in files(copy)}
    with pytest.raises(UserError, match=r"has its model alone \(keep=model\).*model.weights="):
        run_in(tmp_path, "copy", "keep=model")
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_a_run_killed_before_its_end_goes_on(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "similarities_on", lambda *_: None)
    kill_at_call(monkeypatch, module.Finetune, "sentence", 0)  # when all is written but for the last words
    kill_at_call(monkeypatch, module.Finetune, "choose", 0)
    with pytest.raises(Killed):
        run_in(tmp_path, "cut", "keep=model")
    assert (tmp_path / "cut" / "checkpoints" / "last.ckpt").is_file()
    with pytest.raises(Killed):
        run_in(tmp_path, "cut", "keep=model")
    path = tmp_path / "cut"
    assert (path / "model.safetensors").read_bytes() == (both[0] / "model.safetensors").read_bytes()
    assert summary(path)["test_acc"] == summary(both[0])["test_acc"]


def test_a_value_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"keep=.some. is not one of all, model"):
        parse_config(composed(tmp_path, "keep=some"))
    config = composed(tmp_path)
    del config.keep  # a run from before there was such a key
    assert parse_config(config).keep == "all"
