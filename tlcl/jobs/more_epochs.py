"""More epochs for a run: its training goes on from the last checkpoint, as if it had not ended there."""

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from tlcl.config.kinds import kind_of
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.config.thaw import THAW_KEYS
from tlcl.errors import UserError
from tlcl.finetuning.early_stop import EarlyStop
from tlcl.models.build import build_model
from tlcl.models.weights import RUN_MODEL, read_state
from tlcl.security.untrusted import recorded_config, recorded_labels
from tlcl.system.figures import counted
from tlcl.system.files import atomic_open, atomic_write_text
from tlcl.tracking.checkpoint import BEST, LAST, BestWeights, read_checkpoint
from tlcl.tracking.records import RunDirectory, config_text

KEYS = ("trainer.epochs", "trainer.patience")  # what may be said beside +resume, the first of them at least
KINDS = ("finetune", "adapt")


def longer(config: Config, composed: DictConfig, anew: dict[str, Any], directory: RunDirectory) -> Config:
    """The run's config with more epochs; what thaws does so in the epochs in which it did, or would have.

    The learning rate goes on by the schedule of the longer run: constant as it was, cosine from where that is; so
    does the weight of an adaptation's loss.

    Args:
        config: as it was.
        composed: the same, as it is recorded.
        anew: values of `KEYS`.

    Raises:
        UserError: no more epochs than there were, a kind of job that has none, or a run from which none goes on.
    """
    before, kind = config.trainer.epochs, kind_of(vars(config)).name
    if kind not in KINDS:
        raise UserError(
            f"trainer.epochs={anew[KEYS[0]]}: more epochs are for fine-tuning and adaptation; a {kind} run is over "
            "after its last task or run"
        )
    if config.adaptation is not None and config.adaptation.name == "fine_tune":
        raise UserError(
            "adaptation=fine_tune goes from the source to the target at a share of all its epochs, so that "
            f"trainer.epochs={anew[KEYS[0]]} would have been another training; start it anew in another run_dir"
        )
    if all(config.thaw.get(key) is None for key in ("depth", "blocks", "patience")):
        milestones = {str(epoch): list(blocks) for epoch, blocks in config.schedule.milestones.items()}
        others = {key: value for key, value in config.thaw.items() if key in THAW_KEYS}
        composed.thaw = {**others, "depth": None, "of": None, **milestones}
    for key, value in anew.items():
        OmegaConf.update(composed, key, value)
    new = parse_config(composed)
    summary = directory.read_json("summary.json") or {}
    unfinished = not summary and new.trainer.epochs == before  # given again, after a kill
    if new.trainer.epochs <= before and not unfinished:
        raise UserError(f"trainer.epochs={new.trainer.epochs} must be more than the {before} that the run has")
    if summary:
        _check_end(directory, new, summary)
    return new


def _check_end(directory: RunDirectory, config: Config, summary: dict[str, Any]) -> None:
    """That a finished run left what a training goes on from, and would not stop at once.

    Raises:
        UserError: it did not, or would.
    """
    path, last = directory.path, directory.checkpoints / LAST
    if summary.get("answer") == "head":
        raise UserError(
            f"the answer of {path} is the head alone, which has no epochs; start anew with "
            f"trainer.epochs={config.trainer.epochs} in another run_dir"
        )
    if not last.is_file():
        raise UserError(f"{path} kept no checkpoint to go on from; start anew in another run_dir")
    states, patience = read_checkpoint(last)["callbacks"], config.trainer.patience
    stops = (state for key, state in states.items() if key.startswith(EarlyStop.__name__))
    waited = max((state["wait_count"] for state in stops), default=0)
    if patience is not None and waited >= patience:
        raise UserError(
            f"{path} stopped early: {counted(waited, 'epoch')} brought nothing better, with "
            f"trainer.patience={patience}; add a larger trainer.patience, or null"
        )


def restore_best(directory: RunDirectory, config: Config) -> None:
    """Write the checkpoint of the best epoch anew, from the model that a finished run keeps in its place."""
    path = directory.checkpoints / BEST
    if path.is_file() or not (directory.path / RUN_MODEL).is_file():
        return
    net, backbone = build_model(config.model, len(recorded_labels(directory.path).classes), config.seed)
    model, last = read_state(directory.path / RUN_MODEL), read_checkpoint(directory.checkpoints / LAST)
    weights = {key: model[backbone.native_key(key)] for key in net.state_dict()}
    with atomic_open(path) as file:
        torch.save({"net": weights, **last["callbacks"][BestWeights.__qualname__]}, file)


def extend(directory: RunDirectory, config: Config) -> None:
    """If its record says fewer epochs, the run is one of more from now on, and no more complete.

    Called when all that could be wrong has been looked at. Killed at any moment it is the run that it was, or the
    longer one.
    """
    path = directory.path
    if config.trainer.epochs <= int(recorded_config(path).trainer.epochs):
        return
    if kind_of(vars(config)).name == "finetune" and config.trainer.select == "best":
        restore_best(directory, config)
    (path / "summary.json").unlink(missing_ok=True)
    atomic_write_text(path / "config.yaml", config_text(config))
