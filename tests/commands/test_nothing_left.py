"""A user's mistake leaves no folder behind; one that was there stays as it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import FAST, composed
from tests.sweeps.conftest import train
from tlcl.api import run as run_from_python
from tlcl.commands import dashboard, depth_grid, distance, explain, predict
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.jobs import fit, registry
from tlcl.tracking.records import RunDirectory

SMALL = [*FAST, "model=small_cnn", "trainer.epochs=1"]
FOLDER = ["data=image_folder", "data.size=8", "data.crop_padding=0", "data.train_size=null", "data.val_size=0"]
JOBS = {
    "finetune": [],
    "continual": ["continual=class_incremental", "method=naive"],
    "adapt": ["+experiment=adapt_digits"],
    "compare": ["+experiment=continual_compare", "compare.methods=[naive,er]"],
    "sweep": ["-m", "seed=0,1", "hydra.sweep.dir=new/sweep"],
}
MISTAKES = {
    "a key": ["optim.rl=1"],
    "a value": ["thaw.depth=99"],
    "no data": [*FOLDER, "data.train=nowhere"],
    "a bad image": [*FOLDER, "data.train=bad"],
    "no weights": ["model.weights=nowhere.pt"],
    "other weights": ["model.weights=other.pt"],
    "no key": ["logger=wandb", "logger.mode=online"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """What is in the working directory, which has class folders with a bad image and another network's weights."""
    for name in ("cat", "dog"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "bad" / name / "0.png")
    (tmp_path / "bad" / "cat" / "1.png").write_text("no image")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path.parent / f"{tmp_path.name}_cache"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path.parent))  # no .netrc
    monkeypatch.setattr("wandb.login", lambda **options: False)
    return lambda: {path.as_posix() for path in Path().rglob("*")}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_run_that_cannot_begin(
    job: str, mistake: str, here: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = here()
    own = [] if job == "sweep" else ["run_dir=new/deep/run"]
    assert train(monkeypatch, *SMALL, *JOBS[job], *MISTAKES[mistake], *own) == 2
    assert here() == before
    if job == "sweep":
        return
    Path("old/empty").mkdir(parents=True)
    Path("old/notes.txt").write_text("mine")
    assert train(monkeypatch, *SMALL, *JOBS[job], *MISTAKES[mistake], "run_dir=old") == 2
    assert here() == before | {"old", "old/empty", "old/notes.txt"}
    assert train(monkeypatch, *SMALL, *JOBS[job], *MISTAKES[mistake], "run_dir=old/notes.txt/run") == 2
    assert here() == before | {"old", "old/empty", "old/notes.txt"}


def test_a_run_from_python_that_cannot_begin(here: Callable[[], set[str]]) -> None:
    before = here()
    with pytest.raises(UserError):
        run_from_python([*SMALL, *MISTAKES["no weights"], "run_dir=new/run"])
    assert here() == before
    Path("old").mkdir()
    Path("old/log.txt").write_text("mine")
    with pytest.raises(UserError):
        run_from_python([*SMALL, *MISTAKES["no weights"], "run_dir=old"])
    assert here() == before | {"old", "old/log.txt"}


def test_a_mistake_found_after_the_beginning(
    tmp_path: Path, here: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a W&B server that does not answer; once an epoch is done, what is there stays."""
    config = parse_config(composed(tmp_path, *SMALL))
    before = here()

    def no_server(config: object, directory: RunDirectory) -> list[object]:
        (directory.path / "wandb").mkdir()
        raise UserError("W&B could not be started")

    monkeypatch.setattr(fit, "loggers_for", no_server)
    with pytest.raises(UserError, match="W&B"):
        registry.run_or_resume(config, tmp_path / "run")
    assert here() == before

    def later(*arguments: object, **options: object) -> None:
        path = tmp_path / "run"
        (path / "metrics.jsonl").write_text('{"epoch": 0}\n')
        raise UserError("something")

    monkeypatch.setattr(fit, "loggers_for", lambda config, directory: [])
    monkeypatch.setattr(fit, "fit", later)
    with pytest.raises(UserError, match="something"):
        registry.run_or_resume(config, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (predict.main, ["nowhere", "bad", "--csv", "new/table.csv"]),
        (explain.main, ["nowhere", "bad", "--out", "new/explained"]),
        (dashboard.main, ["bad", "--out", "new/page.html"]),
        (depth_grid.main, ["--images", "mine=bad", "--out", "new/grid", "--sizes", "50", "--seeds", "0"]),
        (depth_grid.main, ["--images", "mine=nowhere", "--out", "new/grid"]),
        (distance.main, ["digits", "letters", "--block", "layer9"]),  # not after the letters are pretrained
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.__module__,
)
def test_another_command_that_cannot_begin(
    main: Callable[[], None], arguments: list[str], here: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = here()
    monkeypatch.setattr("tlcl.tracking.wandb.resolve_mode", lambda mode: "offline")
    monkeypatch.setattr("sys.argv", ["tlcl", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert here() == before
    assert not (Path(os.environ["TLCL_CACHE"]) / "pretrained").exists()
