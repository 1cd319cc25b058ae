"""W&B through Lightning's logger: online when a key is there, offline otherwise, never a prompt."""

import logging
import os
import secrets
import shlex
from typing import Any, Literal

from tlcl.config.kinds import kind_of
from tlcl.config.schema import Config, WandbConfig
from tlcl.errors import UserError
from tlcl.tracking.records import RunDirectory, config_record
from tlcl.tracking.run_history import flattened
from tlcl.tracking.wandb_logger import RunLogger, close_unfinished, drop_service

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds in which the server answers


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


def check_key(config: Config) -> None:
    """See that there is a key where the config needs one.

    Raises:
        UserError: there is none.
    """
    if isinstance(config.logger, WandbConfig) and config.logger.mode == "online":
        resolve_mode("online")


def _connect(config: Config, mode: Literal["online", "offline"], run_id: str, save_dir: str) -> RunLogger:
    """Start the W&B run; an online one that cannot reach its server fails after `PATIENCE`."""
    import wandb

    options = config.logger
    assert isinstance(options, WandbConfig)
    logger = RunLogger(
        options.log_model,
        name=config.name,
        save_dir=save_dir,
        id=run_id,
        project=options.project,
        entity=options.entity,
        group=options.group,
        tags=options.tags,
        job_type=kind_of(vars(config)).name,
        offline=mode == "offline",
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(mode=mode, silent=True, x_disable_stats=True, init_timeout=PATIENCE),
    )
    for axis in ("epoch", "task"):
        logger.experiment.define_metric(axis, hidden=True)
    RunLogger.unfinished = logger
    return logger


def _start(config: Config, mode: Literal["online", "offline"], run_id: str, save_dir: str) -> RunLogger:
    """Start the W&B run, with a new process of W&B's when the one of an earlier run has died since."""
    import wandb

    try:
        return _connect(config, mode, run_id, save_dir)
    except wandb.errors.Error:  # what its process, or the server, answers
        raise
    except Exception as error:
        drop_service()
        logger = _connect(config, mode, run_id, save_dir)
        reason = type(error).__name__
        log.warning("warning: W&B's process no longer answers (%s); a new one records this run", reason)
        return logger


def build_wandb(config: Config, directory: RunDirectory) -> RunLogger:
    """The logger of this run directory; a resumed run keeps its W&B id.

    `logger.mode=auto` goes offline, with a warning, when there is a key but the server cannot be reached.

    Raises:
        UserError: `logger.mode=online` without a key or a server.
    """
    options = config.logger
    assert isinstance(options, WandbConfig)
    known = directory.read_json("wandb.json")
    run_id = known["id"] if known else secrets.token_hex(4)
    if not known:
        directory.write_json("wandb.json", {"id": run_id, "project": options.project, "entity": options.entity})
    close_unfinished()
    os.environ.pop("WANDB_SERVICE", None)  # W&B's process of the program that started this one: it ends with that
    mode = resolve_mode(options.mode)
    try:
        logger = _start(config, mode, run_id, str(directory.path))
    except Exception as error:  # ValueError: WANDB_MODE=something
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if options.mode == "online" or mode == "offline":
            raise UserError(
                f"W&B could not be started ({reason}); use logger.mode=offline or logger=none"
            ) from None
        log.warning("warning: W&B cannot be reached (%s); this run is recorded offline", reason)
        mode = "offline"
        drop_service()  # it would hold on to the run that it could not announce
        logger = _connect(config, mode, run_id, str(directory.path))
    with logger.spared():
        logger.experiment.config.update(config_record(config), allow_val_change=True)
        logger.address = logger.experiment.url if mode == "online" else None
    return logger


def finish_wandb(logger: Any, directory: RunDirectory, summary: dict[str, Any]) -> None:
    """Send the final figures, plots, tables and models, and close the run so that the next of a sweep is its own.

    Says where the run is recorded. Called when its directory is complete: what W&B does not take costs a warning.
    """
    from tlcl.tracking.wandb_artifacts import log_lineage
    from tlcl.tracking.wandb_media import run_media

    assert isinstance(logger, RunLogger)
    with logger.spared():
        logger.experiment.summary.update(flattened(summary))
        logger.experiment.log(run_media(directory.path))
        if logger.model_kept_as != "none":
            log_lineage(logger.experiment, directory.path, summary, upload=logger.model_kept_as == "file")
    logger.close()
    folder = directory.path / "wandb"
    upload = f"wandb sync {shlex.quote(str(folder))}/offline-run-*"
    log.info("W&B: %s", logger.address or f"in {folder}, offline; upload with: {upload}")
