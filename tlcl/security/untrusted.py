"""What a run or a sweep recorded, read as data: a directory may come from somebody else."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.errors import UserError
from tlcl.security.allowlist import check_composed
from tlcl.security.secrets import leaves

LARGEST_SIDE = 8192  # pixels of a stored image
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


def refuse_links(directory: Path) -> None:
    """That no file in it is a link that leads out of it, by which a report would show, or a resume write, another.

    A folder may be one, such as `checkpoints` on a larger disk; W&B's folder is its own.

    Raises:
        UserError: one is.
    """
    home = os.path.realpath(directory)
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name != "wandb"]
        for path in (os.path.join(folder, name) for name in files):
            if os.path.islink(path) and not os.path.realpath(path).startswith(f"{home}{os.sep}"):
                raise UserError(f"{path} is a link that leads out of {directory}; put the file itself there")


def read_yaml(path: Path) -> DictConfig:
    """A config in a file that may come from somebody else.

    Raises:
        UserError: it cannot be read, is no mapping, or has aliases, by which a small file can stand for a huge one.
    """
    try:
        text = path.read_text()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has YAML aliases, which no record has")
        config = OmegaConf.create(text)
    except AssertionError:  # a number or a word
        config = None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is damaged: {reason}") from None
    if not isinstance(config, DictConfig):
        raise UserError(f"{path} is damaged: it must map keys to values")
    return config


def recorded_config(run_dir: Path) -> DictConfig:
    """The config in `run_dir`, which `RunDirectory.begin` wrote without interpolations.

    Raises:
        UserError: it cannot be read, or holds what no record holds: an interpolation, a name of code to run, or a
            link out of `run_dir`.
    """
    path = run_dir / "config.yaml"
    refuse_links(run_dir)
    config = read_yaml(path)
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if "${" in f"{key}{value}":
            raise UserError(f"{path} is not used: {key}={value} is an interpolation, and records hold values alone")
    check_composed(config)
    return config


@dataclass(frozen=True)
class Labels:
    """What `labels.json` says of a model.

    Attributes:
        classes: names of its outputs, in order.
        size, channels: of the images it takes, as they are stored.
    """

    classes: tuple[str, ...]
    size: int
    channels: int


def recorded_labels(run_dir: Path) -> Labels:
    """What `labels.json` in `run_dir` holds.

    Raises:
        UserError: it is missing, damaged, or names no classes or no size that images have.
    """
    path = run_dir / "labels.json"
    try:
        stored = dict(json.loads(path.read_bytes()))
        labels = Labels(tuple(map(str, stored["classes"])), stored["size"], stored["channels"])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it must name classes, size and channels") from None
    whole = all(type(number) is int for number in (labels.size, labels.channels))
    if not whole or not 0 < labels.size < LARGEST_SIDE or labels.channels not in (1, 3) or not labels.classes:
        raise UserError(f"{path} is damaged: it must name classes, a size below {LARGEST_SIDE}, 1 or 3 channels")
    return labels


def check_command(recorded: Sequence[str], given: Sequence[str], where: Path) -> None:
    """That a sweep's recorded command can be resumed: it may run nothing that the user has not named himself.

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
