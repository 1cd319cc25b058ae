"""Files are written whole or not at all, by one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlcl.errors import UserError
from tlcl.system.files import atomic_open, one_at_a_time, remove_partials
from tlcl.tracking.records import RunDirectory


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    code = """
import os, signal
from pathlib import Path
from tlcl.system.files import atomic_open
with atomic_open(Path("run/plots/curves.png")) as file:
    file.write(b"half"); file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    assert [path.suffix for path in (tmp_path / "run" / "plots").iterdir()] == [".partial"]
    with atomic_open(tmp_path / "run" / "plots" / "time.png") as file:  # of one that lives
        RunDirectory(tmp_path / "run", resume=False).close()
        file.write(b"whole")
    assert os.listdir(tmp_path / "run" / "plots") == ["time.png"]
    (tmp_path / "mine.partial").write_text("not ours")
    remove_partials(tmp_path)
    assert (tmp_path / "mine.partial").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    waited: list[str] = []
    with one_at_a_time(tmp_path / "a.lock", lambda: waited.append("never")):
        pass

    class Waiting(Exception):
        pass

    def busy() -> None:
        raise Waiting

    lock = tmp_path / "a.lock"
    with one_at_a_time(lock, busy), pytest.raises(Waiting), one_at_a_time(lock, busy):
        pass
    assert not waited
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), one_at_a_time(tmp_path / "file" / "a.lock", busy):
        pass
