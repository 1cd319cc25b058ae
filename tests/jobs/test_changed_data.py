"""What a run began on and what it would go on with: every change between kill and resume is named and refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning, summary
from tests.sweeps.conftest import train
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.explain.neighbours import training_images
from tlcl.jobs.more_epochs import longer
from tlcl.security.untrusted import recorded_config
from tlcl.tracking.data_record import DATA, SHARED, data_set, refuse_different, share_record
from tlcl.tracking.records import RunDirectory, read_lines, read_object

pytestmark = pytest.mark.usefixtures("undrawn")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(f"{label}/{k:02}.png" for label in ("ant", "bee", "cow") for k in range(14)):
        picture(tmp_path / "images" / name, number)
    return tmp_path / "images"


def keys(folder: Path, *more: str) -> list[str]:
    return [
        "data=image_folder", f"data.train={folder}", "data.size=8", "data.crop_padding=0", "data.train_size=null",
        "data.val_size=null", "model=small_cnn", "thaw.depth=0", "optim.schedule=constant", "trainer.epochs=3",
        *more,
    ]  # fmt: skip


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "class renamed": (
        lambda root: (root / "ant").rename(root / "zebu"),
        "the class 'ant' is gone and the class 'zebu' is new",
    ),
    "class added": (lambda root: picture(root / "dog" / "0.png", 99), "the class 'dog' is new"),
    "file added": (lambda root: picture(root / "bee" / "new.png", 99), "'bee/new.png' is new"),
    "file removed": (lambda root: (root / "bee" / "00.png").unlink(), "is gone"),
    "relabelled": (
        lambda root: (root / "ant" / "03.png").rename(root / "bee" / "x.png"),
        "'bee/x.png' has another class now",
    ),
    "replaced": (lambda root: picture(root / "cow" / "05.png", 99), "'cow/05.png' is another image now"),
    "renamed": (
        lambda root: (root / "ant" / "03.png").rename(root / "ant" / "zz.png"),
        "'ant/zz.png' has another name now",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_run_refuses_other_data(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """With all images trained on or tested, so that each change is in one of both parts."""
    config = composed(tmp_path, *keys(folder))
    kill_at_batch(monkeypatch, 1, 0)
    with pytest.raises(Killed):
        go(config)
    do, words = CHANGES[change]
    shutil.copytree(folder, tmp_path / "before")
    do(folder)
    with pytest.raises(UserError, match=r"began on other data: of the images ") as caught:
        go(config)
    assert words in str(caught.value)
    with pytest.raises(UserError, match="began on other data"):
        training_images(parse_config(recorded_config(tmp_path / "run")), tmp_path / "run")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)  # put back, with other times
    go(config)
    go(composed(tmp_path / "whole", *keys(folder)))
    same_finetuning(tmp_path / "whole" / "run", tmp_path / "run")


def test_other_images_without_names_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(tmp_path, "model=small_cnn", "thaw.depth=0", "trainer.epochs=2", "optim.schedule=constant")
    kill_at_batch(monkeypatch, 1, 0)
    with pytest.raises(Killed):
        go(config)
    record = read_object(tmp_path / "run" / DATA)
    assert record["training"]["classes"] == list("0123456789")
    assert record["training"]["images"] + record["test"]["images"] == 1797
    config.data = composed(tmp_path, "data=rendered_digits").data
    with pytest.raises(UserError, match=r"of the images there are 2,000, and were 1,397; of the test images"):
        go(config)


def test_runs_of_a_sweep_share_their_data(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))
    sweep = ["-m", *keys(folder, "logger=none", "trainer.progress=false", "hydra.sweep.dir=sweep")]
    assert train(monkeypatch, *sweep, "seed=0") == 0
    (folder / "ant" / "00.png").unlink()
    config = parse_config(recorded_config(tmp_path / "sweep" / "0"))
    now = {"training": {"classes": ["ant"], "images": 1, "digest": "x"}}
    with pytest.raises(UserError, match=r"other runs in .*sweep began on other data"):
        refuse_different(tmp_path / "sweep" / "1", data_set(config), now)
    with pytest.raises(UserError, match=r"other runs in .*sweep began on other data"):
        share_record(tmp_path / "sweep" / "1", data_set(config), now)
    config.data.size = 16  # type: ignore[attr-defined]
    share_record(tmp_path / "sweep" / "1", data_set(config), now)  # another data set has figures of its own
    assert len(read_object(tmp_path / "sweep" / SHARED)) == 2
    assert train(monkeypatch, *sweep, "seed=0", "run_dir=mine") == 2
    assert "give a sweep's directory by hydra.sweep.dir=FOLDER" in capsys.readouterr().err


def test_a_comparison_is_not_finished_on_other_data(tmp_path: Path, folder: Path) -> None:
    compared = [
        "continual=class_incremental", "continual.classes_per_task=[2,1]", "compare=default",
        "compare.methods=[naive]", "trainer.select=last", "trainer.epochs=1",
    ]  # fmt: skip
    few = keys(folder, "data.val_size=3", *compared)
    go(composed(tmp_path, *few, "compare.seeds=[0]"))
    (folder / "ant" / "00.png").unlink()
    config = composed(tmp_path, *few, "compare.seeds=[0,1]")
    with pytest.raises(UserError, match="began on other data"):
        go(config)


# --- more epochs


def resume(monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    return train(monkeypatch, "+resume=run", *more)


def test_more_epochs_go_on_as_if_the_run_had_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    same = ["model=small_cnn", "optim.schedule=constant", "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3]"]
    go(composed(tmp_path, *same, "trainer.epochs=2"))
    assert resume(monkeypatch, "trainer.epochs=2") == 2
    assert "must be more than the 2 that the run has" in capsys.readouterr().err
    assert resume(monkeypatch, "trainer.epochs=4") == 0
    go(composed(tmp_path / "whole", *same, "trainer.epochs=4"))
    same_finetuning(tmp_path / "whole" / "run", tmp_path / "run")
    assert summary(tmp_path / "run")["epochs"] == 4
    assert resume(monkeypatch) == 0
    assert "complete" in capsys.readouterr().out


def test_the_best_epoch_before_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the first, none is better: its weights come back from the finished run's model."""
    monkeypatch.chdir(tmp_path)
    same = ["model=small_cnn", "optim.schedule=constant", "optim.lr=1e-20", "thaw.depth=0", "trainer.monitor=loss"]
    go(composed(tmp_path, *same, "trainer.epochs=2"))
    assert summary(tmp_path / "run")["best"]["epoch"] == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert resume(monkeypatch, "trainer.epochs=3") == 0
    assert summary(tmp_path / "run")["best"]["epoch"] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_what_thawed_stays_thawed_in_a_longer_run(tmp_path: Path) -> None:
    composed_ = composed(tmp_path, "thaw=layerwise", "trainer.epochs=7")
    config = parse_config(composed_.copy())
    with RunDirectory(tmp_path / "run", resume=False) as directory:
        new = longer(config, composed_, {"trainer.epochs": 14}, directory)
    assert new.schedule.milestones == config.schedule.milestones
    assert sorted(new.schedule.milestones) == [0, 3, 5]


def test_more_epochs_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    go(composed(tmp_path, "model=small_cnn", "optim.head=fitted", "thaw.depth=0", "trainer.epochs=1"))
    assert resume(monkeypatch, "trainer.epochs=3") == 2
    assert "is the head alone, which has no epochs" in capsys.readouterr().err
    assert resume(monkeypatch, "trainer.patience=3") == 2
    assert "trainer.epochs=N alone trains on" in capsys.readouterr().err
    assert resume(monkeypatch) == 0


def test_more_epochs_that_cannot_begin_leave_the_run_as_it_was(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused for other data; then, put right, killed in the new epochs and given again."""
    monkeypatch.chdir(tmp_path)
    run = go(composed(tmp_path, *keys(folder)))
    before = {name: (run / name).read_bytes() for name in ("summary.json", "config.yaml", "metrics.jsonl")}
    (folder / "ant" / "00.png").rename(folder / "ant" / "away")
    assert resume(monkeypatch, "trainer.epochs=5") == 2
    assert "began on other data" in capsys.readouterr().err
    assert {name: (run / name).read_bytes() for name in before} == before
    (folder / "ant" / "away").rename(folder / "ant" / "00.png")
    kill_at_batch(monkeypatch, 4, 0)
    with pytest.raises(Killed):
        resume(monkeypatch, "trainer.epochs=5")
    assert not (run / "summary.json").exists()
    assert resume(monkeypatch, "trainer.epochs=5") == 0
    go(composed(tmp_path / "whole", *keys(folder, "trainer.epochs=5")))
    same_finetuning(tmp_path / "whole" / "run", run)


def test_a_run_that_stopped_early_needs_more_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it stopped in what would have been its last epoch."""
    monkeypatch.chdir(tmp_path)
    still = ["model=small_cnn", "optim.lr=1e-20", "optim.schedule=constant", "thaw.depth=0", "trainer.patience=2"]
    go(composed(tmp_path, *still, "trainer.epochs=3"))
    assert resume(monkeypatch, "trainer.epochs=6") == 2
    assert "stopped early: 2 epochs brought nothing better" in capsys.readouterr().err
    assert resume(monkeypatch, "trainer.epochs=6", "trainer.patience=4") == 0
    assert [line["epoch"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2, 3, 4]
