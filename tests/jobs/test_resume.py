"""A resumed run is the same run: weights, metrics and scores equal to the bit."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import FAST, composed, go
from tests.jobs.conftest import Killed, kill_at_batch, kill_at_call, same_finetuning
from tests.sweeps.conftest import train
from tlcl.continual.module import ContinualModule
from tlcl.errors import Interrupted, TrainingError, UserError
from tlcl.finetuning.module import FinetuningModule
from tlcl.tracking.checkpoint import latest_checkpoint, read_checkpoint
from tlcl.tracking.records import RunDirectory, read_lines

pytestmark = pytest.mark.usefixtures("undrawn")

OVERRIDES = [
    "thaw=milestones", "+thaw.0=[head]", "+thaw.2=[layer4]", "+thaw.3=[layer3]",
    "trainer.epochs=5", "optim.name=adamw", "optim.lr=0.001", "data.flip=true",
]  # fmt: skip


def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> DictConfig:
    """The config of a run that died in the first batch of an epoch."""
    config = composed(tmp_path, *OVERRIDES)
    kill_at_batch(monkeypatch, epoch, 0)
    with pytest.raises(Killed):
        go(config)
    return config


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    go(composed(path, *OVERRIDES))
    return path / "run"


# In the first epoch, right before, at and after the milestones at 2 and 3, and twice in one run.
@pytest.mark.parametrize("kills", [[(0, 1)], [(1, 2)], [(2, 0)], [(3, 1)], [(2, 2), (4, 0)]], ids=str)
def test_resume_is_bitwise_equal(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]
) -> None:
    config = composed(tmp_path, *OVERRIDES)
    for epoch, batch in kills:
        kill_at_batch(monkeypatch, epoch, batch)
        with pytest.raises(Killed):
            go(config)
    go(config)
    same_finetuning(uninterrupted, tmp_path / "run")


@pytest.mark.parametrize(
    "stream", [[], ["continual=class_incremental", "method=er", "trainer.select=last"]], ids=["finetuning", "er"]
)
def test_dropout_of_a_resumed_run_is_that_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: list[str]
) -> None:
    """The loader's iterator draws a number in every epoch but the first of a process."""
    keys = ["model=small_cnn", "model.dropout=0.4", "model.input_size=16", "thaw=all", "trainer.epochs=3", *stream]
    whole = go(composed(tmp_path / "whole", *keys))
    config = composed(tmp_path / "killed", *keys)
    kill_at_call(monkeypatch, ContinualModule if stream else FinetuningModule, "training_step", 4)
    with pytest.raises(Killed):
        go(config)
    resumed = go(config)
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert read_lines(resumed / "metrics.jsonl") == read_lines(whole / "metrics.jsonl")


def test_truncated_last_checkpoint_falls_back(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = killed(tmp_path, monkeypatch, 4)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    go(config)
    assert "truncated or damaged" in caplog.text
    assert "previous.ckpt" in caplog.text
    same_finetuning(uninterrupted, tmp_path / "run")


def test_damaged_best_weights_are_written_anew_or_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = killed(tmp_path, monkeypatch, 3)
    folder = tmp_path / "run" / "checkpoints"
    for later in (0, 1):  # the last checkpoint is of the best epoch, or of a later one
        last = read_checkpoint(folder / "last.ckpt")
        state = last["callbacks"]["BestWeights"]
        state["epoch"], state["score"] = last["epoch"] - later, [2.0, 0.0]
        torch.save(last, folder / "last.ckpt")
        flip(folder / "best.ckpt")
        kill_at_batch(monkeypatch, 3, 0)
        with pytest.raises(UserError if later else Killed, match="best epoch" if later else None):
            go(config)
        if later:
            continue
        assert "written anew" in caplog.text
        weights = read_checkpoint(folder / "best.ckpt")
        assert weights["epoch"] == last["epoch"]
        for key, value in weights["net"].items():
            assert torch.equal(value, last["state_dict"][f"net.{key}"])


def test_another_runs_checkpoint_is_named_and_changes_nothing(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = killed(tmp_path, monkeypatch, 3)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    own = last.read_bytes()
    content = read_checkpoint(last)
    fewer_groups = [{**state, "param_groups": state["param_groups"][1:]} for state in content["optimizer_states"]]
    weights = {key: value for key, value in content["state_dict"].items() if "layer4" not in key}
    for other, part in (
        ({**content, "state_dict": weights, "epoch": 0}, "net.blocks.layer4"),
        ({**content, "optimizer_states": fewer_groups}, "parameter group"),
        ({"net": weights}, "net.blocks.head"),
    ):
        torch.save(other, last)
        with pytest.raises(UserError, match=f"last.ckpt does not fit this run's config.yaml.*{part}"):
            go(config)
    last.write_bytes(own)
    go(config)
    same_finetuning(uninterrupted, tmp_path / "run")


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_metrics_that_were_removed_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = killed(tmp_path, monkeypatch, 2)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl lacks epochs"):
        go(config)


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"x": torch.zeros(4096)}, path)
    flip(path)
    with pytest.raises(ValueError, match=r"checksum|damaged"):
        read_checkpoint(path)
    with pytest.raises(UserError, match="no checkpoint can be read"):
        latest_checkpoint(tmp_path)


def test_a_killed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlcl.tracking.checkpoint import AtomicCheckpointIO

    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)

    def half(content: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise Killed

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(Killed):
        AtomicCheckpointIO().save_checkpoint({"x": 2}, path)
    assert read_checkpoint(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_ctrl_c_in_the_middle_of_a_save(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.save makes an error of its own of an interrupt that meets it while it writes."""
    original = torch.save

    class Interrupting(io.BytesIO):
        def write(self, content: bytes) -> int:
            if self.tell() > 1_000_000:
                raise KeyboardInterrupt
            return super().write(content)

    def save(content: dict[str, object], file: IO[bytes]) -> None:
        second = content.get("epoch") == 1 and "state_dict" in content
        original(content, Interrupting() if second else file)

    config = composed(tmp_path, *OVERRIDES)
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Interrupted, match=r"^interrupted, with every .* resume it with \+resume="):
        go(config)
    monkeypatch.undo()
    go(config)
    same_finetuning(uninterrupted, tmp_path / "run")


def test_two_runs_cannot_share_a_directory(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="another process"):
        RunDirectory(tmp_path / "run", resume=False)
    (tmp_path / "run" / "config.yaml").write_text("x: 1")
    first.close()
    with pytest.raises(UserError, match=r"\+resume="):
        RunDirectory(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="no tlcl run directory"):
        RunDirectory(tmp_path / "other", resume=True)


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    config = composed(tmp_path, "thaw.depth=1", "optim.lr=1e30", "optim.schedule=constant", "trainer.log_every=1")
    with pytest.raises(TrainingError) as caught:
        go(config)
    text = str(caught.value)
    for part in ("epoch 0", "batch", "head 1e+30", "thawed: layer4, head"):
        assert part in text
    assert "\n" not in text


def kill_after(tmp_path: Path, arguments: list[str], *, lines: int) -> None:
    """Start the command line and kill it as soon as `lines` epochs are recorded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tlcl.train", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while len(read_lines(metrics)) < lines and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_sigkill_and_resume_by_command_line(
    tmp_path: Path,
    uninterrupted: Path,
    train_cli: Callable[..., "subprocess.CompletedProcess[str]"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kill_after(tmp_path, [*FAST, *OVERRIDES, "run_dir=run"], lines=3)
    assert not (tmp_path / "run" / "summary.json").exists()
    monkeypatch.chdir(tmp_path)
    assert train(monkeypatch, "+resume=run", "optim.lr=1") == 2
    assert "leave out optim.lr=1" in capsys.readouterr().err
    done = train_cli("+resume=run")
    assert done.returncode == 0, done.stderr
    same_finetuning(uninterrupted, tmp_path / "run")
    assert train(monkeypatch, "+resume=run") == 0
    assert "complete" in capsys.readouterr().out
