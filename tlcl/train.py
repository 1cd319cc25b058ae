"""The entry point: compose, build, run, record. The only place that knows the order.

`tlcl train +experiment=finetune_layerwise`, which is also `tlcl-train` and `python -m tlcl.train`.
"""

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.config.compose import (
    MISTAKES,
    check_groups,
    check_milestones,
    check_quotes,
    check_useless,
    hydra_sentence,
)
from tlcl.config.flags import SWEEPING, check_alone, check_flags
from tlcl.config.kinds import validation_figure
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config, conf_dir
from tlcl.config.unread import check_unread
from tlcl.distributed.launcher import check_launched, launched_as
from tlcl.errors import Interrupted, UserError, as_sentences, run_cli, with_exit_codes
from tlcl.extensions import allow_named
from tlcl.quoting import quoted
from tlcl.security.allowlist import guard
from tlcl.security.untrusted import recorded_config
from tlcl.sweeps.callback import sweep_directory
from tlcl.system.memory import keep_freed_memory
from tlcl.system.paths import expanded

# What needs torch is imported by the functions that use it: --help and the TAB key do not wait for it.

log = logging.getLogger(__name__)
ANEW = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")  # how many processes may be said beside +resume
NO_TRIAL = "No trials are completed yet"  # how Optuna's ValueError begins


def start(composed: DictConfig) -> dict[str, Any]:
    """Open the run directory that the config names, or the one to resume, and run there."""
    OmegaConf.set_struct(composed, False)
    plain: Any = OmegaConf.to_container(composed)
    timed = "${now:" in str(plain.get("run_dir"))
    resume = composed.pop("resume", None)
    log.info("starting")  # torch takes seconds to load
    if resume is None:  # a mistake is said before torch is imported
        check_milestones(HydraConfig.get().overrides.task, composed)
        check_unread(HydraConfig.get().overrides.task, composed)
        config = parse_config(composed)
        check_launched(config.trainer)
    from tlcl.jobs.registry import run
    from tlcl.reports.render import render
    from tlcl.tracking.records import RunDirectory

    if resume is None:
        config, directory = _begun(config, timed)
    else:
        path = expanded(str(resume), "+resume")
        anew = _beside_resume(composed)
        directory = RunDirectory(path, resume=True)
        config = _recorded(path, anew, directory)
        check_launched(config.trainer)
        finished = directory.read_json("summary.json")
        if finished and finished.get("status") == "complete" and "trainer.epochs" not in anew:
            with as_sentences(config, path):
                log.info("this run is complete; report: %s", render(path))
            directory.close()
            return finished
    with directory, as_sentences(config, directory.path):
        return run(config, directory)


def _begun(config: Config, timed: bool) -> tuple[Config, Any]:
    """The config with its run directory, and that `RunDirectory`.

    Args:
        timed: whether it is named by the second in which a run begins; a run beside it then has a number.
    """
    from tlcl.tracking.records import RunDirectory

    numbered = [config.run_dir, *(f"{config.run_dir}_{number}" for number in range(2, 100))]
    for path in map(Path, numbered if timed else ()):
        if path.exists():
            continue
        try:
            return replace(config, run_dir=str(path)), RunDirectory(path, resume=False)
        except UserError:
            if not path.exists():  # it cannot be made; else another run has just taken it
                raise
    return config, RunDirectory(Path(config.run_dir), resume=False)


def _beside_resume(composed: DictConfig) -> dict[str, Any]:
    """What may be said anew and the command line says beside +resume: `ANEW`, and more epochs.

    Raises:
        UserError: it gives something else.
    """
    from tlcl.jobs.more_epochs import KEYS

    ours = ("+resume=", "resume=", "extend=")  # extend, to allow the run's own files again
    beside = [item for item in HydraConfig.get().overrides.task if not item.startswith(ours)]
    named = [item.partition("=")[0] for item in beside]
    anew = {key: OmegaConf.select(composed, key) for key in (*ANEW, *KEYS) if key in named}
    given = [item for item in beside if item.partition("=")[0] not in anew]
    if KEYS[1] in anew and KEYS[0] not in anew:
        given.append(KEYS[1])
    if given:
        raise UserError(
            f"+resume takes the run's own config; leave out {' '.join(given)} (trainer.epochs=N alone trains on)"
        )
    return anew


def _recorded(path: Path, anew: dict[str, Any], directory: Any) -> Config:
    """The config of the run in `path`, with what is given anew; `directory` is its `RunDirectory`."""
    from tlcl.jobs.more_epochs import KEYS, longer
    from tlcl.tracking.begun_in import check_folder

    composed = recorded_config(path)
    check_folder(path, composed)
    composed.run_dir = str(path)
    try:
        config = parse_config(composed.copy())
    except UserError as error:
        raise UserError(f"{path / 'config.yaml'} cannot be resumed: {error}") from None
    if not anew:
        return config
    for key in ANEW:
        if key in anew:
            OmegaConf.update(composed, key, anew[key])
    if KEYS[0] not in anew:
        return parse_config(composed)
    return longer(config, composed, {key: anew[key] for key in KEYS if key in anew}, directory)


@hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="config")
def hydra_main(composed: DictConfig) -> float | None:
    """What Hydra calls for a run or a job of a sweep; returns what a search maximises, a validation figure."""
    keep_freed_memory()
    # Here, because Hydra adds lines of its own to errors that pass through it.
    if sweep_directory() is not None:
        from tlcl.sweeps.job import run_sweep_job

        return with_exit_codes(lambda: run_sweep_job(composed))
    return validation_figure(with_exit_codes(lambda: start(composed)))


def _whole_command(arguments: list[str]) -> list[str]:
    """The arguments, or what `+resume=DIR` of a sweep stands for."""
    if not any(argument.startswith("+resume=") for argument in arguments):
        return arguments
    if "+resume=latest" in arguments:
        from tlcl.tracking.latest import LATEST, whole_directory

        path = whole_directory(Path(LATEST))
        arguments = [quoted("+resume", str(path)) if item == f"+resume={LATEST}" else item for item in arguments]
    from tlcl.sweeps import plan as sweep

    return sweep.resumed_command(arguments)


def _sweep_first(arguments: list[str]) -> list[str]:
    """With -m before everything else: between keys Hydra would not know those behind it."""
    many = [word for word in arguments if word in SWEEPING]
    return [*many[:1], *(word for word in arguments if word not in many)]


def _program() -> None:
    allow_named(sys.argv[1:])
    sys.argv[1:] = _whole_command(_sweep_first(sys.argv[1:]))
    guard(sys.argv[1:])
    check_flags(sys.argv[1:])
    check_alone(sys.argv[1:])
    check_quotes(sys.argv[1:])
    check_useless(sys.argv[1:])
    check_groups(sys.argv[1:])
    wanted = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra pass errors on instead of printing them
    try:
        hydra_main()
    except KeyboardInterrupt:
        root = sweep_directory()
        if root is None:
            raise
        raise Interrupted(root) from None
    except (HydraException, MissingConfigException, OmegaConfBaseException) as error:
        if wanted == "1":
            raise
        raise hydra_sentence(error) from None
    except ValueError as error:
        if wanted != "1" and str(error).startswith(tuple(MISTAKES)):
            raise hydra_sentence(error) from None
        root = sweep_directory()
        if root is None or not str(error).startswith(NO_TRIAL):
            raise
        from tlcl.sweeps import plan as sweep

        sweep.conclude(root)  # every job of a search failed
    finally:
        os.environ.pop("HYDRA_FULL_ERROR") if wanted is None else os.environ.update(HYDRA_FULL_ERROR=wanted)


def _first_or_worker() -> None:
    """The command, or in a process of torchrun's or srun's that is not the first, what the first one asks for."""
    rank, processes = launched_as()
    if processes == 1:
        _program()
        return
    if rank > 0:
        from tlcl.worker import serve_launcher

        serve_launcher()
        return
    from tlcl.distributed.leader import dismiss

    try:
        _program()
    finally:
        dismiss()


def main() -> None:
    """Command line entry."""
    run_cli(_first_or_worker)


if __name__ == "__main__":
    main()
