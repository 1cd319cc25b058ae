"""Early stopping: when it ends a run, what it waits for, and that a resumed run ends where it ended."""

import json
from pathlib import Path

import pytest

from tests.conftest import composed, go
from tests.finetuning.given_losses import give_losses
from tests.jobs.conftest import Killed, kill_at_call
from tlcl.jobs import finetune as module

# The validation loss of each epoch, in the place of the true one.
LOSSES = [0.9, 0.8, 0.85, 0.86, 0.7, 0.95, 0.96, 0.97, 0.98]
RUN = ["data.crop_padding=0", "trainer.epochs=9", "model=small_cnn"]


@pytest.fixture(autouse=True)
def _given_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    give_losses(monkeypatch, LOSSES)


def epochs(path: Path) -> int:
    return len((path / "metrics.jsonl").read_text().splitlines())


@pytest.mark.parametrize(("patience", "expected"), [(1, 3), (2, 4), (3, 8), (5, 9), (None, 9)])
def test_training_ends_when_the_loss_has_not_improved_for_so_long(
    tmp_path: Path, patience: int | None, expected: int
) -> None:
    wanted = "null" if patience is None else patience
    path = go(composed(tmp_path, *RUN, f"trainer.patience={wanted}"))
    assert epochs(path) == expected
    best = min(range(expected), key=LOSSES.__getitem__)
    summary = json.loads((path / "summary.json").read_text())
    assert summary["selected"]["epoch"] == best
    assert summary["last"]["epoch"] == expected - 1
    assert summary["selected_by"] == "the epoch with the lowest validation loss"


def test_what_thaws_has_its_patience(tmp_path: Path) -> None:
    """By itself the run would end after epoch 3; layer3 thaws in 6, and epochs before that do not count."""
    thaw = ["thaw=milestones", "+thaw.0=[head]", "+thaw.6=[layer3]"]
    path = go(composed(tmp_path, *RUN, *thaw, "trainer.patience=2"))
    assert epochs(path) == 9  # 6 is the best since the thaw, 7 and 8 are not


def test_a_run_killed_after_its_last_epoch_trains_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*RUN, "trainer.patience=2"]
    kill_at_call(monkeypatch, module.Finetune, "choose", 0)
    with pytest.raises(Killed):
        go(composed(tmp_path, *overrides))
    assert epochs(tmp_path / "run") == 4
    path = go(composed(tmp_path, *overrides))
    assert epochs(path) == 4


def test_accuracy_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The loss is lowest before the network knows anything.
    monkeypatch.setattr("tests.finetuning.test_early_stop.LOSSES", [0.1, *LOSSES[1:]])
    path = go(composed(tmp_path, *RUN, "trainer.monitor=accuracy", "optim.lr=0.2"))
    summary = json.loads((path / "summary.json").read_text())
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["val/acc"], -line["val/loss"], -line["epoch"]))
    assert best["epoch"] > 0
    assert summary["selected"]["epoch"] == best["epoch"]
    assert summary["selected_by"] == "the epoch with the highest validation accuracy"
