"""What W&B is given, read back from what it stored offline: a fine-tuned model goes on to a continual run."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import composed, go
from tests.tracking.conftest import axes, history, models, run_of, summary
from tlcl.config.parse import parse_config
from tlcl.jobs import continual
from tlcl.jobs import finetune as finetuning
from tlcl.models.weights import RUN_MODEL
from tlcl.reports.dashboard.views import CONTINUAL, FINETUNING, SWEEP
from tlcl.reports.plots.predictions import confusion_counts
from tlcl.tracking import wandb
from tlcl.tracking.accuracy_matrix import read_matrix
from tlcl.tracking.finished_run import read_run
from tlcl.tracking.predictions import read_predictions
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.run_history import flattened
from tlcl.tracking.wandb import build_wandb, finish_wandb
from tlcl.tracking.wandb_artifacts import model_artifact
from tlcl.tracking.wandb_logger import RunLogger

OFFLINE = ["logger=wandb", "logger.mode=offline", "thaw.depth=0", "trainer.epochs=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Directories of a fine-tuning run and of the continual run that began with its model."""
    root = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")  # Lightning's logger sets it; the other tests get it back
        patch.setenv("WANDB_DATA_DIR", str(root))
        tuned = go(composed(root / "tuned", *OFFLINE), finetuning.run)
        tasks = ["+experiment=continual_digits", f"model.weights={tuned}", "method=naive", "data.train_size=60"]
        config = composed(root / "continual", *tasks, *OFFLINE, "continual.classes_per_task=[4,3,3]")
        yield tuned, go(config, continual.run)


def stored(run_dir: Path) -> Path:
    (path,) = run_dir.rglob("run-*.wandb")
    return path


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of figures, without what W&B and Lightning add to each."""
    own = [
        {key: row[key] for key in row if not key.startswith(("_", "trainer/"))} for row in history(stored(run_dir))
    ]
    return [row for row in own if "epoch" in row or "task" in row]


def table(run_dir: Path, name: str) -> dict[str, Any]:
    (path,) = (run_dir / "wandb").glob(f"offline-run-*/files/media/table/{name}_*.table.json")
    return dict(json.loads(path.read_text()))


def test_tasks_and_epochs_are_the_axes(runs: tuple[Path, Path]) -> None:
    """By whole names: with the patterns `*` and `continual/*`, W&B draws either at random."""
    for run_dir in runs:
        defined = axes(stored(run_dir))
        for key in set().union(*rows(run_dir)) - {"epoch", "task"}:
            assert defined[key] == ("task" if key.startswith("continual/") else "epoch")
    assert axes(stored(runs[1]))["continual/cumulative_accuracy"] == "task"


def test_the_records_tell_what_was_logged(runs: tuple[Path, Path]) -> None:
    """A row an epoch and a row a task, no others; what a page reads from the records is what W&B has."""
    for run_dir in runs:
        run, about = read_run(run_dir), json.loads((run_dir / "summary.json").read_text())
        assert run is not None
        of_tasks = [row for row in rows(run_dir) if "task" in row]
        of_epochs = [row for row in rows(run_dir) if "task" not in row]
        assert of_epochs + of_tasks == run.history
        assert len(of_tasks) == len(about.get("tasks", []))
        assert [row["epoch"] for row in of_epochs] == list(range(len(read_lines(run_dir / "metrics.jsonl"))))
        final = summary(stored(run_dir))
        assert {key: final[key] for key in run.flat_summary} == run.flat_summary == flattened(about)
    assert final["final_accuracy"] == about["final_accuracy"]
    assert of_tasks[-1]["continual/forgetting"] == about["forgetting"]
    assert "continual/forgetting" not in of_tasks[0]


def test_both_matrices_are_tables(runs: tuple[Path, Path]) -> None:
    matrix, measured = table(runs[1], "accuracy_matrix"), read_matrix(runs[1])
    assert measured is not None
    values = np.array([row[1:] for row in matrix["data"]], dtype=float)
    np.testing.assert_array_equal(values, measured.matrix)
    assert np.isnan(values[0, 1])
    assert len(set(matrix["columns"])) == 4
    for run_dir in runs:
        tested, cells = read_predictions(run_dir), table(run_dir, "confusion_matrix_table")["data"]
        assert tested is not None
        counts = np.array([cell[2] for cell in cells]).reshape(10, 10)
        np.testing.assert_array_equal(counts, confusion_counts(tested.labels, tested.probabilities))
        assert cells[1][:2] == ["0", "1"]  # true, predicted


def test_pictures_of_both_matrices(runs: tuple[Path, Path]) -> None:
    for run_dir, names in zip(runs, ({"confusion", "curves"}, {"confusion", "matrix", "cumulative"}), strict=True):
        logged = {key.split("/")[1] for row in history(stored(run_dir)) for key in row if key.startswith("plots/")}
        assert names <= logged
        assert {path.stem for path in (run_dir / "plots").glob("*.png")} == logged


def test_the_continual_run_uses_the_model_that_fine_tuning_logged(runs: tuple[Path, Path]) -> None:
    tuned, after = (models(stored(run_dir)) for run_dir in runs)
    assert set(tuned) == {"logged"}
    assert (after["used"].name, after["used"].digest) == (tuned["logged"].name, tuned["logged"].digest)
    assert after["logged"].name != tuned["logged"].name
    for run_dir, artifact in zip(runs, (tuned["logged"], after["logged"]), strict=True):
        sha256 = json.loads((run_dir / "summary.json").read_text())["model_sha256"]
        assert json.loads(artifact.metadata)["sha256"] == sha256
        assert sha256.startswith(artifact.name.split("-")[-1])
        assert {item.path for item in artifact.manifest.contents} == {RUN_MODEL, "labels.json", "config.yaml"}
        weights = next(item for item in artifact.manifest.contents if item.path == RUN_MODEL)
        assert weights.ref == (run_dir / RUN_MODEL).as_uri()  # a place, not an upload


def test_an_uploaded_model_is_the_same_version(runs: tuple[Path, Path]) -> None:
    reference, uploaded = (model_artifact(runs[0] / RUN_MODEL, upload=upload) for upload in (False, True))
    assert (reference.name, reference.digest) == (uploaded.name, uploaded.digest)
    assert reference.digest != model_artifact(runs[1] / RUN_MODEL, upload=False).digest
    assert uploaded.manifest.entries[RUN_MODEL].local_path == str(runs[0] / RUN_MODEL)


def test_every_key_of_the_dashboard_is_logged(runs: tuple[Path, Path]) -> None:
    """A view names no figure, picture or table that W&B does not have of such a run."""
    for run_dir, views in zip(runs, ((FINETUNING, SWEEP), (CONTINUAL,)), strict=True):
        run, final = read_run(run_dir), summary(stored(run_dir))
        assert run is not None
        media = {key.rsplit("/", 1)[0] for row in history(stored(run_dir)) for key in row}
        for view in views:
            assert view.job == run.job == run_of(stored(run_dir)).job_type
            for x, key in view.curves():
                assert [row for row in rows(run_dir) if x in row and key in row], key
                assert axes(stored(run_dir))[key] == x
            for value in view.values():
                assert value.key in (run.flat_config if value.where == "config" else final), value
            assert {f"plots/{name}" for name in view.plots()} <= media
            assert "confusion_matrix_table" in media
    assert "accuracy_matrix" in media


class Experiment:
    """Stands for a W&B run; every call is noted, and fails when `broken`."""

    def __init__(self, broken: bool) -> None:
        self.broken, self.calls, self.summary = broken, [], self
        self.update = self.note("summary")

    def note(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            self.calls.append(name)
            if self.broken:
                raise ConnectionResetError("Connection lost")

        return call

    def __getattr__(self, name: str) -> Any:
        return self.note(name)


def test_no_model_is_logged_where_none_is_wanted(runs: tuple[Path, Path]) -> None:
    for kept, logged in (("none", []), ("reference", ["_log_artifact", "log_artifact"])):
        experiment = Experiment(broken=False)
        directory = RunDirectory(runs[1], resume=True)
        about = directory.read_json("summary.json") or {}
        finish_wandb(RunLogger(kept, experiment=experiment), directory, about)  # type: ignore[arg-type]
        directory.close()
        assert experiment.calls == ["summary", "log", *logged, "finish"]


def test_a_broken_wandb_costs_one_warning(runs: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    experiment = Experiment(broken=True)
    logger = RunLogger("reference", experiment=experiment)  # type: ignore[arg-type]
    directory = RunDirectory(runs[1], resume=True)
    with caplog.at_level(logging.WARNING):
        logger.log_metrics({"train/loss": 1.0, "epoch": 0}, 3)
        finish_wandb(logger, directory, directory.read_json("summary.json") or {})
    directory.close()
    assert "finish" in experiment.calls
    assert [record.message for record in caplog.records if "Connection lost" in record.message] == [
        "warning: W&B has failed (Connection lost) and may lack what follows; the run's own records do not"
    ]


def test_without_its_server_wandb_records_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setattr(wandb, "PATIENCE", 2.0)
    config, directory = composed(tmp_path, "logger=wandb"), RunDirectory(tmp_path / "run", resume=False)
    logger = build_wandb(parse_config(config.copy()), directory)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, 3)
    logger.close()
    directory.close()
    assert "W&B cannot be reached" in caplog.text
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))


def test_one_line_at_the_end_says_where_the_run_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        go(composed(tmp_path, "logger=wandb", "logger.mode=offline", "model=small_cnn", "trainer.epochs=1"))
    said = [record.message for record in caplog.records if record.name.startswith("tlcl")]
    *_, figures, where, report = said
    assert figures.startswith("test accuracy")
    assert report.startswith("report: ")
    folder = tmp_path / "run" / "wandb"
    assert where == f"W&B: in {folder}, offline; upload with: wandb sync {folder}/offline-run-*"
    assert sum("W&B" in line for line in said) == 1


def test_online_it_is_the_address(runs: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    logger = RunLogger("none", experiment=Experiment(broken=False))  # type: ignore[arg-type]
    logger.address = "https://wandb.ai/me/digits/runs/1"
    directory = RunDirectory(runs[1], resume=True)
    with caplog.at_level(logging.INFO):
        finish_wandb(logger, directory, directory.read_json("summary.json") or {})
    directory.close()
    assert caplog.messages[-1] == "W&B: https://wandb.ai/me/digits/runs/1"
