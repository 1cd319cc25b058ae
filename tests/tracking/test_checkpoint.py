"""The last checkpoint's two names, when a signal comes in between."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlcl.tracking.checkpoint import LAST, PREVIOUS, LastCheckpoint
from tlcl.tracking.timings import Stopwatch


class Trainer:
    """Writes the epoch's number, and is interrupted before or after that if told to."""

    is_global_zero = True
    strategy = SimpleNamespace(barrier=lambda name: None)
    epoch = 0
    interrupted = ""

    def save_checkpoint(self, path: Path) -> None:
        if self.interrupted == "before it is written":
            raise KeyboardInterrupt
        path.write_text(str(self.epoch))
        if self.interrupted == "after it is written":
            raise KeyboardInterrupt


def names(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("where", ["before it is written", "after it is written", "between the renames"])
def test_an_interrupted_save_leaves_whole_checkpoints_under_their_names(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, last = Trainer(), LastCheckpoint(tmp_path, Stopwatch())
    for trainer.epoch in (0, 1):
        last._save(trainer)  # type: ignore[arg-type]
    assert names(tmp_path) == {LAST: "1", PREVIOUS: "0"}
    (tmp_path / "incoming.ckpt").write_text("of a process that was killed")

    trainer.epoch, trainer.interrupted = 2, where
    replace, renamed = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        replace(source, target)
        renamed.append(target.name)
        if renamed == [PREVIOUS] and where == "between the renames":
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        last._save(trainer)  # type: ignore[arg-type]
    before = where == "before it is written"
    assert renamed == ([] if before else [PREVIOUS, LAST])
    assert names(tmp_path) == ({LAST: "1", PREVIOUS: "0"} if before else {LAST: "2", PREVIOUS: "1"})
