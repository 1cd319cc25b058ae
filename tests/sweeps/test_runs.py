"""Sweeps whose jobs train: killed and resumed, in parallel, reported from records alone, in W&B."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest

from tests.conftest import FAST
from tests.sweeps.conftest import train
from tlcl.commands.report import main as report_main
from tlcl.tracking.records import read_lines
from tlcl.tracking.wandb_file import records

SWEEP = ["-m", *FAST, "model=small_cnn", "trainer.epochs=3", "thaw.depth=0,1", "seed=0,1"]


def table(root: Path) -> list[dict[str, str]]:
    """The rows of a sweep without their times."""
    with open(root / "sweep.csv") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole") / "sweep"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert train(monkeypatch, *SWEEP, f"hydra.sweep.dir={root}") == 0
    return root


@pytest.mark.slow
def test_a_killed_sweep_goes_on_to_the_same_table(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "tlcl.train", *SWEEP, f"hydra.sweep.dir={root}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 300
    while not read_lines(root / "2" / "metrics.jsonl"):  # the third job has begun
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (root / "3").exists()
    stamps = [(root / name / "summary.json").stat().st_mtime_ns for name in "01"]
    assert train(monkeypatch, f"+resume={root}") == 0
    assert [(root / name / "summary.json").stat().st_mtime_ns for name in "01"] == stamps
    assert table(root) == table(whole)
    for name in "0123":
        assert (root / name / "model.safetensors").read_bytes() == (whole / name / "model.safetensors").read_bytes()


RECORDS = ("config.yaml", "summary.json", "job.json", "labels.json", "data.json", "test_predictions.npz")


def test_the_report_needs_the_records_alone(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(whole, root)
    for job in root.glob("?"):
        for kept in list(job.rglob("*")):
            if kept.is_file() and kept.name not in RECORDS:
                kept.unlink()
    for made in ("sweep.csv", "report.html"):
        (root / made).unlink()
    monkeypatch.setattr("sys.argv", ["tlcl report", str(root)])
    report_main()
    assert (root / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    assert (root / "report.html").read_text() == (whole / "report.html").read_text()


def test_the_report_of_one_run_is_drawn_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "0"
    shutil.copytree(whole / "0", run)
    shutil.rmtree(run / "checkpoints")
    (run / "report.html").unlink()
    monkeypatch.setattr("sys.argv", ["tlcl report", str(run)])
    report_main()
    assert (run / "report.html").read_text() == (whole / "0" / "report.html").read_text()


@pytest.mark.slow
def test_jobs_at_once_share_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the workers are told less than this by loky, were it not for the environment
    monkeypatch.setenv("OMP_NUM_THREADS", str(joblib.cpu_count()))
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert train(monkeypatch, "-m", *FAST, "trainer.epochs=1", "thaw.depth=0,9", "seed=0,1", *launcher) == 2
    threads = [json.loads(path.read_text())["threads"] for path in (tmp_path / "sweep").glob("?/environment.json")]
    assert threads == [max(1, joblib.cpu_count() // 2)] * 2
    assert sorted(path.parent.name for path in tmp_path.rglob("failed.json")) == ["2", "3"]


@pytest.mark.slow
def test_each_job_has_a_closed_run_in_the_sweeps_group(
    train_cli: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    wandb = [item for item in FAST if not item.startswith("logger")]
    result = train_cli(
        "-m", *wandb, "logger.mode=offline", "trainer.epochs=1", "thaw.depth=0", "optim.lr=1e30,0.02",
        "hydra.sweep.dir=my_sweep",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "1 of 2 jobs failed" in result.stderr
    codes = []
    for name in ("0", "1"):
        (stored,) = (tmp_path / "my_sweep" / name).rglob("*.wandb")
        messages = list(records(stored))
        assert {message.run.run_group for message in messages if message.HasField("run")} == {"my_sweep"}
        codes += [message.exit.exit_code for message in messages if message.HasField("exit")]
    assert codes == [1, 0]
