"""How a command ends: one sentence and an exit code for a signal, a full disk, no memory; nothing half written."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tlcl.errors import Interrupted, Stopped, Terminated, TrainingError, UserError, as_sentences, run_cli
from tlcl.tracking.checkpoint import AtomicCheckpointIO, read_checkpoint
from tlcl.tracking.records import RunDirectory, read_lines

CONFIG = OmegaConf.create({"data": {"batch_size": 512}, "model": {"input_size": 64}})


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def program() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_cli(program)
    return end.value.code, capsys.readouterr().err


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("seed=x is no number"), 2, "error: seed=x is no number\n"),
        (TrainingError("the loss is not finite"), 1, "stopped: the loss is not finite\n"),
        (KeyboardInterrupt(), 130, "stopped: interrupted\n"),
        (Terminated(), 143, "stopped: terminated\n"),
        (full(), 1, "stopped: run/metrics.jsonl cannot be written: No space left on device; make room and give the "
                    "command again\n"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_end_has_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error, capsys) == (code, said)


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    for error in (ValueError("a mistake of ours"), FileNotFoundError(errno.ENOENT, "No such file", "x")):
        with pytest.raises(type(error)):
            run_cli(lambda error=error: (_ for _ in ()).throw(error))  # type: ignore[misc]


def fit_of_lightning(run_dir: Path) -> None:
    """Lightning makes an exit of its own of what ends it, as in `tlcl.finetuning.trainer.fit`."""
    try:
        try:
            raise Terminated
        except KeyboardInterrupt:
            sys.exit(1)
    except SystemExit:
        raise Interrupted(run_dir) from None


@pytest.mark.parametrize("record", ["config.yaml", "sweep.json", None])
def test_how_to_go_on_depends_on_what_began(tmp_path: Path, record: str | None) -> None:
    if record:
        (tmp_path / record).write_text("")
    with pytest.raises(Interrupted) as caught:
        fit_of_lightning(tmp_path)
    assert caught.value.code == 143
    end = f"resume it with +resume={tmp_path}" if record else "give the same command again"
    assert str(caught.value) == f"terminated, with every finished epoch saved; {end}"


def test_a_run_among_others_says_how_the_whole_goes_on(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    for error, code in ((KeyboardInterrupt(), 130), (Terminated(), 143), (full(), 1)):
        with pytest.raises(Stopped) as caught, as_sentences(CONFIG, tmp_path), as_sentences(CONFIG, tmp_path / "1"):
            raise error
        assert caught.value.code == code
        assert str(caught.value).endswith(f"resume it with +resume={tmp_path}")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_memory_names_what_to_lower(error: Exception, tmp_path: Path) -> None:
    words = r"out of memory with data\.batch_size=512.*model\.input_size=64"
    with pytest.raises(TrainingError, match=words), as_sentences(CONFIG, tmp_path):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), as_sentences(CONFIG, tmp_path):
        raise RuntimeError("shapes do not fit")


def test_torch_really_says_that_memory_ran_out(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="out of memory"), as_sentences(CONFIG, tmp_path):
        torch.empty(1 << 55)


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No file may grow beyond 100 kB."""
    resource = pytest.importorskip("resource", reason="limits of a process are those of Unix")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_checkpoint_that_does_not_fit_names_itself_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)
    with pytest.raises(OSError, match="File too large") as caught:
        AtomicCheckpointIO().save_checkpoint({"x": torch.rand(1_000_000)}, path)
    assert caught.value.filename == str(path)
    assert read_checkpoint(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_damaged_line_is_no_end_of_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("")
    directory, path = RunDirectory(tmp_path, resume=True), tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert [line["epoch"] for line in read_lines(path)] == [0, 1]
    assert not caplog.text
    for line in (b'\xff"epoch": 1}\n{"epoch": 2}\n', b"7\n", b"[]x\n"):
        damaged = b'{"epoch": 0}\n' + line
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl is damaged"):
            directory.keep_lines("metrics.jsonl", lambda line: True)
        assert path.read_bytes() == damaged
        assert [line["epoch"] for line in read_lines(path)] == [0]
        assert "line 2" in caplog.text
    directory.close()


def test_sigterm_is_taken_once_and_given_back() -> None:
    code = """
import os, signal
from tlcl.errors import run_cli
def program():
    os.kill(os.getpid(), signal.SIGTERM)
try:
    run_cli(program)
except SystemExit as end:
    print(end.code, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("143 True\n", "stopped: terminated\n")


def test_sigterm_that_is_waited_for_elsewhere_stays_there() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        run_cli(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
