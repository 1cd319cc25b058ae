"""One process at a time writes a run directory, and a dead one never keeps it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlcl.errors import UserError
from tlcl.tracking.records import RunDirectory


def test_two_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="another process is writing to"):
        RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="another process is writing to"):  # the refused one took nothing away
        RunDirectory(tmp_path / "run", resume=False)
    first.close()
    RunDirectory(tmp_path / "run", resume=False).close()
    assert (tmp_path / "run" / ".lock").read_bytes() == b""


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
