"""Runs whose validation losses are given, for the tests of what goes by them."""

from collections.abc import Sequence

import pytest
import torch

from tlcl.data.datamodule import Batch
from tlcl.finetuning.module import ONCE_AN_EPOCH, FinetuningModule


def give_losses(monkeypatch: pytest.MonkeyPatch, losses: Sequence[float]) -> None:
    """Each epoch's validation loss in the place of the true one; no report, no comparison with the start."""
    monkeypatch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
    monkeypatch.setattr("tlcl.jobs.finetune.similarities_on", lambda *_: None)

    def given(self: FinetuningModule, batch: Batch, batch_idx: int) -> None:
        self.val_acc(self.net(batch.images, start=self.val_start), batch.labels)
        self.val_loss.update(torch.tensor(losses[self.current_epoch]), len(batch.labels))
        self.log("val/loss", self.val_loss, **ONCE_AN_EPOCH)
        self.log("val/acc", self.val_acc, **ONCE_AN_EPOCH)

    monkeypatch.setattr(FinetuningModule, "validation_step", given)
