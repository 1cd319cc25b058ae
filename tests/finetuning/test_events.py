"""Thawing by events: when blocks thaw, from which weights, and that a resumed run thaws the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import composed, go
from tests.finetuning.given_losses import give_losses
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.thaw import ThawSchedule
from tlcl.errors import UserError
from tlcl.finetuning.events import ThawByEvents

# The validation loss of each epoch, in the place of the true one, and what trains in it with a patience of 1.
LOSSES = [0.9, 0.8, 0.85, 0.86, 0.7, 0.95, 0.6, 0.65, 0.66]
DEPTHS = [0, 0, 0, 1, 2, 2, 3, 3, 4]
RUN = ["data.crop_padding=0", "trainer.epochs=9", "model=small_cnn", "thaw=by_events", "thaw.patience=1"]
ORDER = ("head", "layer3", "layer2", "layer1", "stem")


@pytest.fixture(autouse=True)
def _given_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    give_losses(monkeypatch, LOSSES)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def depths(path: Path) -> list[int]:
    found = []
    for line in lines(path):
        assert set(line["trainable"]) == set(ORDER[: len(line["trainable"])])
        found.append(len(line["trainable"]) - 1)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run whose losses are the true ones of nobody; made once."""
    return tmp_path_factory.mktemp("whole")


def uninterrupted(whole: Path) -> Path:
    return whole / "run" if (whole / "run" / "summary.json").is_file() else go(composed(whole, *RUN))


def test_the_next_block_thaws_when_the_loss_has_not_improved(whole: Path) -> None:
    path = uninterrupted(whole)
    assert depths(path) == DEPTHS
    summary = json.loads((path / "summary.json").read_text())
    assert set(summary["trained_blocks"]) == set(ORDER[:5])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["thaw.patience=2"], [0, 0, 0, 0, 1, 1, 1, 1, 1]),
        (["thaw.0=1", "thaw.depth=3"], [1, 1, 1, 2, 3, 3, 3, 3, 3]),
        (["thaw.depth=1"], [0, 0, 0, 1, 1, 1, 1, 1, 1]),
        (["thaw.0=layer2", "thaw.depth=layer1"], [2, 2, 2, 3, 3, 3, 3, 3, 3]),
        # Early stopping waits for the last thaw, in epoch 4: then 0.7 is the best, 0.95 is not.
        (["thaw.depth=2", "trainer.patience=1"], [0, 0, 0, 1, 2, 2]),
    ],
    ids=str,
)
def test_where_it_begins_and_ends(tmp_path: Path, overrides: list[str], expected: list[int]) -> None:
    assert depths(go(composed(tmp_path, *RUN, *overrides))) == expected


@pytest.mark.parametrize("epoch", range(9))
def test_a_resumed_run_is_the_same_to_the_bit(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    config = composed(tmp_path, *RUN)
    kill_at_batch(monkeypatch, epoch, 1)
    with pytest.raises(Killed):
        go(config)
    go(config)
    same_finetuning(uninterrupted(whole), tmp_path / "run")


def test_frozen_blocks_computed_once_change_nothing(tmp_path: Path, whole: Path) -> None:
    other = go(composed(tmp_path, *RUN, "data.cache_prefix=ram"))
    off = go(composed(tmp_path / "off", *RUN, "data.cache_prefix=off"))
    for path in (other, off):
        assert [line["train/loss"] for line in lines(path)] == [
            line["train/loss"] for line in lines(uninterrupted(whole))
        ]


def test_the_best_weights_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[dict[str, Tensor]] = []
    begins: list[dict[str, Tensor]] = []
    momenta: list[int] = []

    def copy(net: torch.nn.Module) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in net.state_dict().items()}

    start, end = ThawByEvents.on_train_epoch_start, ThawByEvents.on_validation_end

    def begin(self: ThawByEvents, trainer: Any, pl_module: Any) -> None:
        start(self, trainer, pl_module)
        begins.append(copy(pl_module.net))
        momenta.append(len(trainer.optimizers[0].state))

    def ended(self: ThawByEvents, trainer: Any, pl_module: Any) -> None:
        end(self, trainer, pl_module)
        ends.append(copy(pl_module.net))

    monkeypatch.setattr(ThawByEvents, "on_train_epoch_start", begin)
    monkeypatch.setattr(ThawByEvents, "on_validation_end", ended)
    go(composed(tmp_path, *RUN, "trainer.epochs=7"))
    origins = {1: 0, 2: 1, 3: 1, 4: 1, 5: 4, 6: 4}  # the epoch whose weights each one begins with
    for epoch, origin in origins.items():
        assert all(torch.equal(begins[epoch][key], ends[origin][key]) for key in begins[epoch]), epoch
        assert any(not torch.equal(begins[epoch][key], ends[other][key])
                   for other in range(epoch) if other != origin for key in begins[epoch]) or epoch == 1  # fmt: skip
        assert (momenta[epoch] == 0) == (epoch in (3, 4, 6))


def test_what_may_train_is_never_less_than_what_does() -> None:
    """The bound that the prefix of the final test goes by, against the schedule of a loss that never improves."""
    for patience in (1, 2, 3):
        schedule = ThawSchedule.from_config({"patience": patience, "depth": 4}, 30, ORDER[::-1])
        depth, waited = 0, 0
        for epoch in range(30):
            if waited >= patience and depth < 4:
                depth, waited = depth + 1, 0
            assert schedule.trainable(epoch) == set(ORDER[: depth + 1]), (patience, epoch)
            waited += epoch > 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["thaw=layerwise", "thaw.patience=3"], r"thaw\.15 says when blocks thaw.*thaw=by_events"),
        (["thaw=by_events", "thaw.of=9"], r"thaw\.of says when"),
        (["thaw=head_only", "thaw.patience=3"], r"thaw\.depth=0 .*nothing to thaw"),
        (["thaw=by_events", "thaw.patience=0"], r"thaw\.patience=0 must be a number of epochs"),
        (["thaw=by_events", "thaw.blocks=[head]"], r"thaw\.blocks .*thaw\.patience"),
        (["thaw=by_events", "optim.head=fitted"], r"thaw\.patience=3 .*optim\.head=new"),
        (["thaw=by_events", "data.val_size=0"], r"data\.val_size=0"),
        (["thaw=by_events", "thaw.0=all"], r"thaw\.0='all' trains everything"),
        (["thaw=by_events", "optim.ema=0.9"], r"thaw\.patience=3 .*optim\.ema=0\.9"),
        (["thaw=by_events", "continual=class_incremental", "method=naive", "trainer.select=last"],
         r"thaw\.patience=3 is for fine-tuning alone"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_events(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(composed_config(overrides))
