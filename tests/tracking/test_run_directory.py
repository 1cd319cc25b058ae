"""One process at a time writes a run directory, and a dead one never keeps it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlcl.errors import UserError
from tlcl.system import folders
from tlcl.tracking.records import RunDirectory


def test_two_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="another process is writing to"):
        RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="another process is writing to"):  # the refused one took nothing away
        RunDirectory(tmp_path / "run", resume=False)
    assert (tmp_path / "run" / ".lock").read_bytes() == b""
    first.close()
    assert not (tmp_path / "run").exists()  # no run began
    RunDirectory(tmp_path / "run", resume=False).close()


def test_a_lock_that_its_holder_takes_away_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process opens it, the first takes it away, a third makes another: the second holds none."""
    path = tmp_path / "run"
    first = RunDirectory(path, resume=False)
    real = folders.lock_descriptor

    def later(descriptor: int, blocking: bool) -> bool:
        monkeypatch.setattr(folders, "lock_descriptor", real)
        first.close()
        thirds.append(RunDirectory(path, resume=False))
        return real(descriptor, blocking=blocking)

    thirds: list[RunDirectory] = []
    monkeypatch.setattr(folders, "lock_descriptor", later)
    with pytest.raises(UserError, match="another process is writing to"):
        RunDirectory(path, resume=False)
    assert (path / ".lock").is_file()  # it is the third one's
    with pytest.raises(UserError, match="another process is writing to"):
        RunDirectory(path, resume=False)
    thirds[0].close()


def test_a_directory_that_cannot_be_made_leaves_nothing_above_it(tmp_path: Path) -> None:
    for name in ("x" * 300, "file/run"):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="cannot be written"):
            RunDirectory(tmp_path / "new" / name if name != "file/run" else tmp_path / name, resume=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / ".lock").touch()
    RunDirectory(tmp_path, resume=False).close()
    assert {entry.name for entry in tmp_path.iterdir()} == {"checkpoints", ".lock"}


def test_a_killed_holder_lets_go_though_what_it_started_lives_on(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from pathlib import Path
from tlcl.tracking.records import RunDirectory
directory = RunDirectory(Path("run"), resume=False)
child = subprocess.Popen([sys.executable, "-c", "input()"])
print(child.pid, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) > 0
        with pytest.raises(UserError, match="another process is writing to"):
            RunDirectory(tmp_path / "run", resume=False)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        # What it started still waits for the end of the same standard input.
        RunDirectory(tmp_path / "run", resume=False).close()


@pytest.mark.parametrize("name", ["labels.json", "checkpoints/mine.ckpt", "report.html"])
def test_files_of_something_else_are_not_written_over(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "project" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=rf"has {name.partition('/')[0]}, which is of no run there"):
        RunDirectory(tmp_path / "project", resume=False)
    assert [path.name for path in (tmp_path / "project").rglob("*") if path.is_file()] == [mine.name]
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other" / "notes.txt").write_text("mine")
    RunDirectory(tmp_path / "other", resume=False).close()
