"""Runs from Python: the command line's runs, in silence, and what they left."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FAST
from tlcl.api import Run, distance, resume, rows, run
from tlcl.data.sources.digits import load_digits
from tlcl.errors import Interrupted, TrainingError, UserError
from tlcl.tracking.epochs import EpochRecords

SHORT = [*FAST, "model=small_cnn", "model.input_size=16", "thaw=all", "trainer.epochs=2"]
TASKS = ["continual=class_incremental", "continual.classes_per_task=5", "trainer.select=last"]


@pytest.fixture(autouse=True, scope="module")
def _in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("notebook")
        patch.setenv("TLCL_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def finished() -> Run:
    return run([*SHORT, "name=tried"])


def test_a_run_is_the_command_lines_run(finished: Run) -> None:
    assert finished.path.parent == Path("runs/tried")
    assert finished.config.trainer.epochs == 2
    assert finished.summary == json.loads((finished.path / "summary.json").read_text())
    assert [line["epoch"] for line in finished.metrics] == [0, 1]
    assert finished.report.is_file()
    command = json.loads((finished.path / "environment.json").read_text())["command"]
    assert command.startswith("tlcl train ")
    assert command.endswith(" name=tried")
    assert repr(finished) == f"{finished.path}: complete, test accuracy {finished.summary['test_acc']:.1%}"
    assert finished.runs == {}
    assert Run(str(finished.path)).summary == finished.summary


def test_plots_are_the_reports_pictures(finished: Run) -> None:
    shown = finished.plot("curves")._repr_png_()
    assert shown == (finished.path / "plots" / "curves.png").read_bytes()
    assert shown.startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"no plot 'curve'; there are .*confusion, curves, .*thaw"):
        finished.plot("curve")


def test_predictions_and_explanations(finished: Run) -> None:
    Path("new").mkdir()
    for number in range(3):
        Image.fromarray(load_digits().test.images[number, 0].numpy()).save(f"new/{number}.png")
    rows = finished.predict("new")
    assert [row["file"] for row in rows] == ["new/0.png", "new/1.png", "new/2.png"]
    for row in rows:
        shares = [row[f"p({digit})"] for digit in range(10)]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert row["prediction"] == str(np.argmax(shares))
        assert row["confidence"] == max(shares)
    assert finished.predict(["new/1.png"]) == [rows[1]]
    for row, plain in zip(finished.predict("new", coverage=0.9), rows, strict=True):
        assert set(filter(None, row.pop("set").split(" | "))) <= {str(digit) for digit in range(10)}
        assert row == plain
    page = finished.explain("new", neighbours=1, classes=["predicted", "7"])
    assert page == finished.path / "explain" / "explain.html"
    explained = list(csv.DictReader((page.parent / "explain.csv").open()))
    assert [row["prediction"] for row in explained] == [row["prediction"] for row in rows]
    assert {"class_1", "distance_1"} <= set(explained[0])
    assert "class_2" not in explained[0]
    assert list((page.parent / "overlays").glob("*_7.png"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        finished.predict("nowhere")


def test_nothing_is_printed_and_the_log_says_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    level = logging.getLogger("tlcl").level
    done = run([*SHORT, "run_dir=here"])
    assert "".join(capfd.readouterr()) == ""
    lines = (done.path / "log.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("epoch   1")]
    assert any(line.startswith("test accuracy") for line in lines)
    assert logging.getLogger("tlcl").level == level
    assert not logging.getLogger("tlcl").handlers
    # The same cell once more: a new run, not a mixture of two.
    assert run([*SHORT, "run_dir=here", "trainer.epochs=1"]).path == Path("here_2")
    assert len(done.metrics) == 2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["trainer.epoch=3"], "there is no config key 'trainer.epoch'; did you mean 'trainer.epochs'?"),
        (["+experiment=finetune"], "there is no config 'experiment/finetune'; there are .*finetune_layerwise"),
        (["trainer.epochs=0"], "trainer.epochs=0 must be at least 1"),
        (["trainer.epochs"], "the command line cannot be understood"),
        (["method=null"], "a config group is chosen by a name"),
        (["data=image_folder", "data.train=nowhere"], "nowhere does not exist"),
        (["+resume=runs/x"], r"tlcl.api.resume\(RUN_DIR\)"),
    ],
)
def test_a_mistake_is_one_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        run([*FAST, *overrides, "run_dir=wrong"])
    assert "\n" not in str(caught.value)
    assert not Path("wrong/config.yaml").exists()


def test_a_stopped_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    original = EpochRecords.on_train_epoch_start

    def stop(self: EpochRecords, trainer, module) -> None:  # type: ignore[no-untyped-def]
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        original(self, trainer, module)

    monkeypatch.setattr(EpochRecords, "on_train_epoch_start", stop)
    with pytest.raises(Interrupted):
        run([*SHORT, "run_dir=stopped"])
    monkeypatch.undo()
    half = Run("stopped")
    assert repr(half) == "stopped: not complete"
    done = resume("stopped")
    assert done.summary["status"] == "complete"
    assert [line["epoch"] for line in done.metrics] == [0, 1]
    stamp = (done.path / "summary.json").stat().st_mtime_ns
    assert resume("stopped").summary == done.summary
    assert (done.path / "summary.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="nowhere is no tlcl run directory"):
        resume("nowhere")


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(TrainingError, match="finite"):
        run([*SHORT, "optim.lr=1e30", "trainer.epochs=3"])


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    Path("file").write_text("")
    with pytest.raises(UserError, match="run_dir=file/run cannot be written"):
        run([*SHORT, "run_dir=file/run"])


def test_a_comparison_has_a_table_and_runs_with_matrices(finished: Run) -> None:
    methods = "compare.methods=[naive,ncm]"
    compared = run([*SHORT, *TASKS, "compare=default", methods, "compare.seeds=[0]", "run_dir=compared"])
    assert {row["method"] for row in compared.table} == {"naive", "ncm"}
    assert sorted(compared.runs) == ["naive_seed0", "ncm_seed0"]
    for row in compared.table:
        one = compared.runs[f"{row['method']}_seed0"]
        assert one.matrix.matrix.shape == (2, 2)
        assert one.summary["final_accuracy"] == row["final_accuracy"]
    for name in ("matrix", "table"):
        with pytest.raises(UserError, match=str(finished.path)):
            getattr(finished, name)


def test_rows_pool_the_runs_of_a_setting(finished: Run) -> None:
    other = run([*SHORT, "seed=1"])
    longer = run([*SHORT, "trainer.epochs=1"])
    short, long = rows([finished, longer, other], ["trainer.epochs"])
    assert (short.settings, long.settings) == ({"trainer.epochs": 1}, {"trainer.epochs": 2})
    assert long.test == [finished.summary["test_acc"], other.summary["test_acc"]]
    assert short.validation == [pytest.approx(longer.summary["selected"]["val_acc"])]
    with pytest.raises(UserError, match=r"no value of 'method\.name'"):
        rows([finished], ["method.name"])


def test_distance_is_the_commands(finished: Run) -> None:
    measured = distance("rendered_digits", "digits", model=finished.path, images=60)
    assert (measured["source_images"], measured["target_images"], measured["target_classes"]) == (60, 60, 10)
    assert 0 <= measured["a_distance"] <= 2
    assert distance("rendered_digits", "digits", model=finished.path, images=60, seed=1) != measured
    with pytest.raises(UserError, match="nowhere is neither one of"):
        distance("nowhere", "digits")
