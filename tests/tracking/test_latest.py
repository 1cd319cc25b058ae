import json
import os
from pathlib import Path

import pytest

from tlcl.errors import UserError
from tlcl.tracking.latest import finished_directory, whole_directory
from tlcl.train import _whole_command

LATEST = Path("latest")


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def begin(path: str, second: int) -> Path:
    """A run that began at this second, and is changed later."""
    folder = Path(path)
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text("{}")
    os.utime(folder / "environment.json", (second, second))
    (folder / "config.yaml").write_text("name: x\n")
    return folder


def finish(path: str, second: int) -> Path:
    folder = begin(path, second)
    for name in ("labels.json", "model.safetensors"):
        (folder / name).write_text("{}")
    (folder / "summary.json").write_text(json.dumps({"status": "complete"}))
    return folder


def test_the_newest_by_its_beginning_not_by_its_name_or_last_change(capsys: pytest.CaptureFixture[str]) -> None:
    finish("runs/z/2030-01-01", 100)
    newest = finish("runs/a/2020-01-01", 200)
    late = finish("runs/m/2025-01-01", 150)
    (late / "report.html").write_text("drawn anew")
    assert finished_directory(LATEST) == whole_directory(LATEST) == newest
    assert capsys.readouterr().err == f"latest: {newest}\n" * 2  # what was taken is said


def test_a_run_that_is_not_finished_is_taken_by_what_resumes_and_reports_alone() -> None:
    done = finish("runs/a/1", 100)
    going = begin("runs/a/2", 200)
    assert finished_directory(LATEST) == done
    assert whole_directory(LATEST) == going
    no_model = finish("runs/a/3", 300)
    (no_model / "model.safetensors").unlink()
    assert finished_directory(LATEST) == done


def test_a_sweep_is_one_thing_to_report_and_many_runs_to_predict() -> None:
    sweep = begin("runs/sweeps/one", 100)
    (sweep / "config.yaml").unlink()
    finish("runs/sweeps/one/0", 110)
    last = finish("runs/sweeps/one/1", 120)
    finish("runs/sweeps/one/1/halves/0", 130)  # what a run wrote for itself is no run of its own
    assert whole_directory(LATEST) == sweep
    assert finished_directory(LATEST) == last


def test_a_path_is_itself_and_one_named_latest_wins() -> None:
    finish("runs/a", 100)
    assert finished_directory(Path("runs/b")) == Path("runs/b")
    assert finished_directory(Path("elsewhere/latest")) == Path("elsewhere/latest")
    LATEST.mkdir()
    assert finished_directory(LATEST) == whole_directory(LATEST) == LATEST


@pytest.mark.parametrize("runs", [False, True])
def test_none_is_one_sentence(runs: bool) -> None:
    if runs:
        begin("runs/a", 100)
        assert whole_directory(LATEST) == Path("runs/a")
    else:
        with pytest.raises(UserError, match=r"there is no run below runs/ for 'latest'"):
            whole_directory(LATEST)
    with pytest.raises(UserError, match=r"there is no finished run below runs/ for 'latest'"):
        finished_directory(LATEST)


def test_a_sweep_is_resumed_as_a_whole() -> None:
    sweep = begin("runs/sweeps/it is one", 100)
    (sweep / "config.yaml").unlink()
    (sweep / "sweep.json").write_text(json.dumps({"command": ["-m", "seed=0,1"]}))
    assert _whole_command(["+resume=latest"]) == ["-m", "seed=0,1", f'hydra.sweep.dir="{sweep}"']
    run = begin("runs/a run", 200)
    assert _whole_command(["+resume=latest"]) == [f'+resume="{run}"']
