"""Checkpoints at epoch ends: atomic, verified when read, with the one before kept until the run is complete."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.system.files import atomic_open
from tlcl.system.safe_load import load_tensors
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.selection import validation_score
from tlcl.tracking.timings import Stopwatch

log = logging.getLogger(__name__)
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint as plain tensors and numbers after checking every record's CRC.

    Raises:
        ValueError: the file is truncated or damaged, or no checkpoint.
    """
    try:
        return dict(load_tensors(path))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is truncated or damaged ({str(error).partition(chr(10))[0]})") from None


class Misfit(UserError):
    """A whole checkpoint that the run in whose directory it lies cannot have written."""

    def __init__(self, path: Path, why: object) -> None:
        reason = " ".join(str(why).split())
        super().__init__(
            f"{path} does not fit this run's config.yaml ({reason[:200]}); put the run's own checkpoint back, or "
            "start the run anew in another run_dir"
        )


def require_network(path: Path, content: dict[str, Any], net: nn.Module) -> None:
    """That a checkpoint within a training is of this network, before anything is done because of it.

    Raises:
        UserError: it is of another one.
    """
    weights = content.get("state_dict", {})
    theirs = {key: tuple(value.shape) for key, value in weights.items() if key.startswith("net.")}
    ours = {f"net.{key}": tuple(value.shape) for key, value in net.state_dict().items()}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise Misfit(path, f"{key} is {theirs.get(key)} there, {ours.get(key)} here")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's file access for checkpoints: written whole or not at all, read with weights_only=True."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_open(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def whole_checkpoints(
    folder: Path, names: Sequence[str], problems: list[str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Those of `names` that are there and whole, each read when it is wanted; `problems` gets what others lack."""
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield path, content


def tell_damaged(problems: Sequence[str], path: Path | None) -> None:
    """Warn of damaged checkpoints in whose place a run resumes from `path`.

    Raises:
        UserError: there are some, and no `path` to resume from.
    """
    if problems and path is None:
        raise UserError(f"no checkpoint can be read: {'; '.join(problems)}; start the run anew in another run_dir")
    for problem in problems:
        log.warning("warning: %s; the run resumes from %s", problem, path)


def latest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, with its content, or None when none was written yet.

    A damaged last checkpoint falls back, with a warning, to the one before.

    Raises:
        UserError: there are checkpoints and none is readable.
    """
    problems: list[str] = []
    found = next(whole_checkpoints(folder, (LAST, PREVIOUS), problems), None)
    tell_damaged(problems, found[0] if found else None)
    return found


class BestWeights(Checkpoint):
    """After each epoch, if its `score` is the highest so far, `best.ckpt` with the network's weights.

    Args:
        score: metrics of an epoch -> numbers of which the first that differ decide; among equals the earliest epoch
            is best.
    """

    def __init__(
        self, folder: Path, watch: Stopwatch, score: Callable[[Mapping[str, Any]], list[float]] = validation_score
    ) -> None:
        self.folder, self.watch, self.score = folder, watch, score
        self.best: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """That the best weights, of which the checkpoint knows the epoch alone, are still there.

        Raises:
            UserError: they are damaged, and of an epoch before the checkpoint's.
        """
        best = checkpoint["callbacks"].get(self.state_key)
        if not best:
            return
        try:
            read_checkpoint(self.folder / BEST)
        except ValueError as problem:
            if best["epoch"] != checkpoint["epoch"]:
                raise UserError(
                    f"{problem}, and with it the weights of the best epoch, {best['epoch']}; start the run anew in "
                    "another run_dir"
                ) from None
            log.warning("warning: %s; it is written anew, from the last checkpoint", problem)
            weights = checkpoint["state_dict"].items()
            net = {key.removeprefix("net."): value for key, value in weights if key.startswith("net.")}
            self._write(trainer, {"net": net, **best})

    def _write(self, trainer: L.Trainer, content: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            with self.watch.measure("checkpoint"), atomic_open(self.folder / BEST) as file:
                torch.save(content, file)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = self.score(trainer.callback_metrics)
        if not self.best or score > self.best["score"]:
            self.best = {"epoch": trainer.current_epoch, "score": score}
            network = pl_module.net
            assert isinstance(network, nn.Module)
            self._write(trainer, {"net": network.state_dict(), **self.best})


class LastCheckpoint(Checkpoint):
    """After each epoch `last.ckpt`, everything that a resume needs; the one before becomes `previous.ckpt`.

    Listed last among the callbacks, so that it holds what they made of the epoch.
    """

    def __init__(self, folder: Path, watch: Stopwatch) -> None:
        self.folder, self.watch = folder, watch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with self.watch.measure("checkpoint"):
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        incoming = self.folder / "incoming.ckpt"
        if trainer.is_global_zero:
            incoming.unlink(missing_ok=True)
        try:
            trainer.save_checkpoint(incoming)
            self._take(trainer, incoming)
        except BaseException:  # a signal after it was written and before it had its name
            self._take(trainer, incoming)
            raise
        trainer.strategy.barrier("checkpoint")

    def _take(self, trainer: L.Trainer, incoming: Path) -> None:
        """Rename what was written, if anything was; called again, it goes on where it was interrupted."""
        if trainer.is_global_zero and incoming.exists():
            last = self.folder / LAST
            if last.exists():
                os.replace(last, self.folder / PREVIOUS)
            os.replace(incoming, last)


def load_last(directory: RunDirectory, net: Blocks) -> None:
    """Load the weights after the last epoch into `net`."""
    state = read_checkpoint(directory.checkpoints / LAST)["state_dict"]
    net.load_state_dict({key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")})
