"""When a run ends, its W&B file is whole, whatever W&B runs went before, go on beside it, or were killed."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from wandb.sdk.lib.service.service_connection import ServiceConnection

from tests.conftest import ROOT, composed
from tests.tracking.conftest import history
from tlcl.config.parse import parse_config
from tlcl.tracking import wandb_logger
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.wandb import build_wandb
from tlcl.tracking.wandb_file import is_whole, records
from tlcl.tracking.wandb_logger import RunLogger, close_unfinished, drop_service


@pytest.fixture(autouse=True)
def _own_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning's logger sets it; the other tests get it back
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    drop_service()
    yield
    close_unfinished()
    drop_service()


def service() -> psutil.Process:
    """W&B's process of this one."""
    (found,) = (
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE and "wandb-core" in process.name()
    )
    return found


def kill_service() -> None:
    """As the kernel does when memory runs out."""
    killed = service()
    killed.kill()
    killed.wait()


def begin(root: Path) -> RunLogger:
    root.mkdir()
    config = composed(root, "logger=wandb", "logger.mode=offline")
    directory = RunDirectory(root / "run", resume=False)
    logger = build_wandb(parse_config(config.copy()), directory)
    directory.close()
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, 3)
    return logger


def stored(root: Path) -> Path:
    (path,) = root.rglob("run-*.wandb")
    return path


def exit_codes(root: Path) -> list[int]:
    return [record.exit.exit_code for record in records(stored(root)) if record.HasField("exit")]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return [message for message in found if "W&B" in message]


def test_many_runs_of_a_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10):
        begin(tmp_path / str(number)).close()
        assert exit_codes(tmp_path / str(number)) == [0]
    assert not warnings(caplog)


def test_the_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """W&B's process gets no time to write between its answer that the run has ended and half a second later."""
    send = ServiceConnection.inform_finish

    def inform_finish(self: ServiceConnection, run_id: str) -> None:
        service().suspend()
        threading.Timer(0.5, service().resume).start()
        send(self, run_id)

    logger = begin(tmp_path / "run")
    monkeypatch.setattr(ServiceConnection, "inform_finish", inform_finish)
    logger.close()
    assert exit_codes(tmp_path / "run") == [0]
    assert not warnings(caplog)


def test_killed_between_two_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path / "before").close()
    kill_service()
    assert not warnings(caplog)
    begin(tmp_path / "after").close()
    (warning,) = warnings(caplog)
    assert warning.startswith("warning: W&B's process no longer answers (")
    begin(tmp_path / "later").close()
    assert not warnings(caplog)
    assert all(is_whole(stored(tmp_path / name)) for name in ("before", "after", "later"))


def test_killed_in_the_middle_of_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = begin(tmp_path / "run")
    kill_service()
    for epoch in range(3):
        logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, epoch)
    logger.close()
    (warning,) = warnings(caplog)
    assert warning.startswith("warning: W&B has failed (")
    begin(tmp_path / "next").close()
    assert exit_codes(tmp_path / "next") == [0]
    assert not warnings(caplog)


def test_killed_before_it_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After it has answered that the run has ended, so that W&B itself knows of no failure."""
    logger = begin(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(ServiceConnection, "inform_finish", lambda *_, **__: kill_service())
        patch.setattr(wandb_logger, "WRITING", 0.2)
        logger.close()
    assert warnings(caplog) == [
        f"warning: W&B has failed ({stored(tmp_path / 'run').name} is not whole) and may lack what follows; "
        "the run's own records do not"
    ]
    begin(tmp_path / "next").close()
    assert exit_codes(tmp_path / "next") == [0]
    assert not warnings(caplog)


def test_its_exit_status_is_not_taken_over(tmp_path: Path) -> None:
    """W&B ends the program with the status of its process, when that died as it was asked to end."""
    for number in range(4):
        begin(tmp_path / str(number)).close()
        service().kill()
        drop_service()


def test_a_run_left_open_is_ended_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As an interrupted run of a notebook: the next one logged to it, and had no file of its own."""
    begin(tmp_path / "open")
    begin(tmp_path / "next").close()
    assert (exit_codes(tmp_path / "open"), exit_codes(tmp_path / "next")) == ([1], [0])
    assert not warnings(caplog)
    begin(tmp_path / "killed")
    kill_service()
    begin(tmp_path / "last").close()
    assert len(warnings(caplog)) == 1
    assert exit_codes(tmp_path / "last") == [0]


CHILD = """
import sys
from pathlib import Path
from tests.tracking.test_wandb_service import begin
logger = begin(Path(sys.argv[1]))
print("begun", flush=True)
input()
for epoch in range(1, 20):
    logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, epoch)
logger.close()
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    """The second was started by the first, which ends W&B's process in the middle of it."""
    begin(tmp_path / "first").close()
    assert os.environ["WANDB_SERVICE"]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "second")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    drop_service()
    errors = child.communicate("\n", timeout=60)[1]
    assert child.returncode == 0, errors
    assert "W&B" not in errors
    rows = [row["epoch"] for row in history(stored(tmp_path / "second")) if "epoch" in row]
    assert rows == list(range(20))
    assert exit_codes(tmp_path / "second") == [0]
