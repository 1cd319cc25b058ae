"""W&B through Lightning's logger: online when a key is there, offline otherwise, never a prompt."""

import logging
import os
import secrets
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

from tlcl.config import Config, WandbConfig
from tlcl.errors import UserError
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)


def resolve_mode(mode: str) -> Literal["online", "offline"]:
    """`online` or `offline`; `auto` looks for a key without ever asking for one.

    Raises:
        UserError: `online` without a key.
    """
    if mode == "offline" or (mode == "auto" and os.environ.get("WANDB_MODE") == "offline"):
        return "offline"
    import wandb

    has_key = bool(wandb.login(prompt=False, verify=False))
    if mode == "online" and not has_key:
        raise UserError("logger.mode=online needs a W&B key: run `wandb login`, or use logger.mode=offline")
    return "online" if has_key else "offline"


def build_wandb(config: Config, directory: RunDirectory, composed: dict[str, Any]) -> WandbLogger:
    """The logger of this run directory; a resumed run goes on under its W&B id."""
    import wandb

    options = config.logger
    assert isinstance(options, WandbConfig)
    mode = resolve_mode(options.mode)
    known = directory.read_json("wandb.json")
    run_id = known["id"] if known else secrets.token_hex(4)
    if not known:
        directory.write_json("wandb.json", {"id": run_id, "project": options.project, "entity": options.entity})
    logger = WandbLogger(
        name=config.name,
        save_dir=str(directory.path),
        id=run_id,
        project=options.project,
        entity=options.entity,
        group=options.group,
        tags=options.tags,
        offline=mode == "offline",
        log_model=False,
        config=composed,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(mode=mode, silent=True, x_disable_stats=True),
    )
    logger.experiment.define_metric("epoch", hidden=True)
    logger.experiment.define_metric("*", step_metric="epoch")
    where = (
        logger.experiment.url if mode == "online" else f"offline; upload with: wandb sync {directory.path}/wandb/*"
    )
    log.info("W&B: %s", where)
    return logger


def finish_wandb(logger: Any, directory: RunDirectory, summary: dict[str, Any]) -> None:
    """Send the final figures and plots, and close the run so that the next one of a sweep is its own."""
    import wandb

    numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
    logger.experiment.summary.update(numbers)
    plots = {
        f"plots/{path.stem}": wandb.Image(str(path)) for path in sorted((directory.path / "plots").glob("*.png"))
    }
    logger.experiment.log(plots)
    logger.experiment.finish()
