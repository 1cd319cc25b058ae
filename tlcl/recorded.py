"""What a run or a sweep recorded, read as data: a directory may come from somebody else."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.allowlist import check_composed
from tlcl.errors import UserError
from tlcl.leaks import leaves

# What a sweep's recorded command may set of Hydra's own config: nothing that runs a command or leads elsewhere.
SAFE = re.compile(
    r"""(-m|--multirun|hydra\.mode=\w+
    |hydra/(launcher|sweeper|sweeper/sampler)=\w+
    |\+{0,2}hydra\.launcher\.\w+=[\w.-]*
    |\+{0,2}hydra\.sweeper\.(direction|n_trials|n_jobs|max_batch_size|max_failure_rate|study_name)=[^/:]*
    |\+{0,2}hydra\.sweeper\.(params|sampler)\..*
    |hydra\.sweep\.dir=.*
    |hydra\.sweep\.subdir=(?!['"]?[/~])(?!.*\.\.).*)""",
    re.VERBOSE | re.DOTALL,
)


def recorded_config(run_dir: Path) -> DictConfig:
    """The config in `run_dir`, which `RunDirectory.begin` wrote without interpolations.

    Raises:
        UserError: it cannot be read, or holds what no record holds: an interpolation, or a name of code to run.
    """
    path = run_dir / "config.yaml"
    try:
        config = OmegaConf.load(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is damaged: {reason}") from None
    if not isinstance(config, DictConfig):
        raise UserError(f"{path} is damaged: it must map keys to values")
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if "${" in f"{key}{value}":
            raise UserError(f"{path} is not used: {key}={value} is an interpolation, and records hold values alone")
    check_composed(config)
    return config


def check_command(recorded: Sequence[str], given: Sequence[str], where: Path) -> None:
    """That a sweep's recorded command can be gone on with: it may run nothing that the user has not named himself.

    Args:
        recorded: its arguments, from the sweep's records.
        given: the arguments of the present command line; what is repeated there is allowed.

    Raises:
        UserError: an argument that could run a command or write elsewhere.
    """
    for item in recorded:
        key = re.sub(r"^[+~]+", "", item).partition("=")[0]
        ours = "=" in item or item.startswith("~")
        plain = ours and not item.startswith("-") and "hydra" not in re.split(r"[./@:]", key)
        if not plain and SAFE.fullmatch(item) is None and item not in given:
            raise UserError(
                f"{where} was started with {item}, which can run commands or write elsewhere; when you trust it, "
                "repeat it beside +resume"
            )
