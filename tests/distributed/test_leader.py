"""A run in two real processes: begun, broken, resumed by two and by one, and under torchrun."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import composed, go
from tests.jobs.conftest import same_finetuning
from tlcl import extensions
from tlcl.config.parse import parse_config
from tlcl.distributed.collectives import in_group
from tlcl.distributed.leader import lost_another
from tlcl.errors import TrainingError, UserError
from tlcl.jobs import continual
from tlcl.jobs.finetune import run
from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.records import ReadOnlyRunDirectory, read_lines

OVERRIDES = [
    "model=small_cnn", "trainer.devices=2", "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3,layer2]",
    "trainer.epochs=3", "data.train_size=97", "data.val_size=41", "data.batch_size=16", "data.flip=true",
]  # fmt: skip
# Ends the second process in the middle of the last epoch.
BREAKS = """
import os, signal
from tlcl.finetuning.module import FinetuningModule

step = FinetuningModule.training_step

def broken(self, batch, batch_idx):
    if os.environ.get("TLCL_TEST_BREAKS") and (self.global_rank, self.current_epoch, batch_idx) == (1, 2, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

FinetuningModule.training_step = broken
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in two processes that nothing interrupted."""
    return go(composed(tmp_path_factory.mktemp("whole"), *OVERRIDES), run)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """The config of the same run, whose second process was killed in the last epoch."""
    path = tmp_path_factory.mktemp("broken")
    config = composed(path, *OVERRIDES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(path))
        patch.setenv("TLCL_TEST_BREAKS", "1")
        (path / "breaks.py").write_text(BREAKS)
        config.extend = [extensions.allow(path / "breaks.py")]
        from tlcl.finetuning.module import FinetuningModule

        kept = FinetuningModule.training_step
        try:
            with pytest.raises(TrainingError, match=r"process 2 of 2 ended by SIGKILL; resume it with \+resume="):
                go(config, run)
        finally:
            FinetuningModule.training_step = kept  # type: ignore[method-assign]
    assert [line["epoch"] for line in read_lines(path / "run" / "metrics.jsonl")] == [0, 1]
    assert not in_group()
    config.extend = []
    return config


def copied(config: DictConfig, path: Path) -> DictConfig:
    shutil.copytree(config.run_dir, path / "run")
    again = config.copy()
    again.run_dir = str(path / "run")
    return again


@pytest.mark.slow
def test_resumed_by_as_many_processes_it_is_the_same_run(
    tmp_path: Path, whole: Path, broken: DictConfig
) -> None:
    resumed = go(copied(broken, tmp_path), run)
    same_finetuning(whole, resumed)
    assert json.loads((resumed / "summary.json").read_text())["processes"] == 2
    shutil.rmtree(resumed / "extensions")
    names = {path.relative_to(resumed).as_posix() for path in resumed.rglob("*") if path.is_file()}
    assert names == {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_resumed_by_one_process_it_goes_on_where_it_was(tmp_path: Path, whole: Path, broken: DictConfig) -> None:
    """Equal up to the checkpoint; then an epoch has six steps, not three, at the same place of the schedule."""
    config = copied(broken, tmp_path)
    before = read_checkpoint(Path(config.run_dir) / "checkpoints" / "last.ckpt")
    config.trainer.devices = 1
    resumed = go(config, run)
    two, one = (read_lines(path / "metrics.jsonl") for path in (whole, resumed))
    assert one[:2] == two[:2]
    assert [line["step"] for line in two] == [3, 6, 9]
    assert [line["step"] for line in one] == [3, 6, 12]
    rates = [key for key in one[2] if key.startswith("lr/")]
    assert [one[2][key] for key in rates] == pytest.approx([two[2][key] for key in rates])
    after = read_checkpoint(resumed / "checkpoints" / "last.ckpt")
    assert all(group["lr"] == pytest.approx(0) for group in after["optimizer_states"][0]["param_groups"])
    assert before["state_dict"].keys() == after["state_dict"].keys()
    assert json.loads((resumed / "summary.json").read_text())["processes"] == 1


@pytest.mark.slow
def test_torchrun_gives_the_same_weights(tmp_path: Path, whole: Path) -> None:
    """Each process has the command; the dates in two `run_dir` would differ, and only the first one's counts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tlcl.train"]
    settings = [*OVERRIDES, "model.weights=none", "logger=none", "trainer.accelerator=cpu"]
    done = subprocess.run(
        [*command, *settings, "trainer.precision=32-true", "name=torchrun"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        env={**os.environ, "TLCL_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch   0") == 1
    (made,) = (tmp_path / "runs" / "torchrun").iterdir()
    if torch.get_num_threads() == 1 or os.environ.get("OMP_NUM_THREADS") == "1":
        assert (made / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (made / "report.html").is_file()


@pytest.mark.slow
def test_a_group_of_one_is_the_run_of_one(tmp_path: Path) -> None:
    """DDP changes nothing where there is nobody to talk to."""
    runs = []
    for strategy in ("auto", "ddp"):
        config = composed(tmp_path / strategy, *OVERRIDES, "data.crop_padding=1")
        config.trainer.devices, config.trainer.strategy = 1, strategy
        runs.append(go(config, run))
        assert not in_group()
    same_finetuning(*runs)


def test_a_mistake_shows_before_other_processes_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    wrong = composed(tmp_path, *OVERRIDES, "data=image_folder", f"data.train={tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match="nowhere"):
        go(wrong, run)
    tasks = ["continual=class_incremental", "continual.classes_per_task=3", "method=er", "trainer.select=last"]
    with pytest.raises(UserError, match="classes_per_task"):
        go(composed(tmp_path / "tasks", "trainer.devices=2", *tasks), continual.run)
    assert not list(tmp_path.rglob("config.yaml"))


def test_closed_form_methods_take_one_process(tmp_path: Path) -> None:
    tasks = ["continual=class_incremental", "continual.classes_per_task=5", "method=ncm", "trainer.select=last"]
    config = composed(tmp_path, "model=small_cnn", "trainer.devices=2", *tasks)
    done = go(config, continual.run)
    assert json.loads((done / "summary.json").read_text())["processes"] == 1


def test_what_the_loss_of_a_process_looks_like() -> None:
    gone = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:2345"
    assert lost_another(RuntimeError(gone))
    assert lost_another(torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:94"))
    assert not lost_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not lost_another(ValueError("socket"))


def test_a_followed_directory_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    directory = ReadOnlyRunDirectory(tmp_path)
    directory.begin(parse_config(composed(tmp_path)))
    directory.write_json("summary.json", {})
    directory.append("metrics.jsonl", {"epoch": 2})
    directory.keep_lines("metrics.jsonl", lambda line: False)
    directory.close()
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl"}
    assert read_lines(tmp_path / "metrics.jsonl") == [{"epoch": 1}]
