"""A config from inside the program."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.config.parse import unknown_key
from tlcl.config.schema import conf_dir
from tlcl.config.unread import check_unread
from tlcl.errors import UserError
from tlcl.quoting import quoted
from tlcl.security.allowlist import check_composed
from tlcl.system.text import shown

KEY = re.compile(r"[~+]{0,2}[\w./@-]+(@[\w.:]+)?")
NAME = re.compile(r"\s*(?!(null|true|false|nan|inf)\s*$)[a-z_][\w./-]*\s*", re.IGNORECASE)
NUMBERS = re.compile(r"[-+\d.eE_, ]+")
TEXTS = (  # keys that take any text
    "train", "val", "test", "root", "weights", "name", "domain", "run_dir", "cache_dir", "resume", "project",
    "entity", "group",
)  # fmt: skip
TWICE = re.compile(r"Multiple values for ([\w/@.]+)\. To override a value use 'override \1: ([^']+)'")
BY_NAME = "a config group is chosen by a name, e.g. data=digits; it is taken out with ~, e.g. '~method'"
# How ValueErrors of Python and Hydra begin that are a user's mistake, and what they mean.
MISTAKES = {
    "Exceeds the limit": "the command line holds a number of thousands of digits; give a smaller one",
    "Config group override must be": BY_NAME,
    "Config group override deletion": "a config group is taken out with ~ and the group alone, e.g. '~method'",
}


def composed_config(overrides: list[str]) -> DictConfig:
    """The config that these overrides compose, as on the command line.

    Raises:
        UserError: an override that cannot be understood, or names what is not there.
    """
    GlobalHydra.instance().clear()
    check_quotes(overrides)
    check_useless(overrides)
    check_groups(overrides)
    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            config = compose("config", overrides)
        check_composed(config)
        check_milestones(overrides, config)
        check_unread(overrides, config)
    except (HydraException, MissingConfigException, OmegaConfBaseException) as error:
        raise hydra_sentence(error) from None
    except ValueError as error:
        if not str(error).startswith(tuple(MISTAKES)):
            raise
        raise hydra_sentence(error) from None
    OmegaConf.set_struct(config, False)
    return config


def check_quotes(arguments: Sequence[str]) -> None:
    """That Hydra's grammar can read every KEY=VALUE; a path with more than ASCII letters in it needs quotes.

    Raises:
        UserError: it cannot, or, without -m, would take a value with a comma for several; with the quotes it needs.
    """
    parser, sweep = OverridesParser.create(), not {"-m", "--multirun"}.isdisjoint(arguments)
    for before, argument in zip(["", *arguments], arguments, strict=False):
        key, equals, value = argument.partition("=")
        of_a_flag = before.startswith("-") and before not in ("-m", "--multirun")
        if not equals and not of_a_flag and (os.sep in argument or Path(argument).exists()):
            example = shlex.quote(quoted("data.train", argument))
            raise UserError(
                f"{shown(argument)} is no KEY=VALUE; a folder of images is given as +experiment=own_images "
                f"{example}"
            )
        if not equals or argument.startswith("-") or not KEY.fullmatch(key):
            continue
        try:
            several = parser.parse_override(argument).is_sweep_override() and not sweep
        except HydraException:
            several = None
        except ValueError:  # a number of thousands of digits, of which more is said elsewhere
            continue
        if several is False:
            continue
        asked = shlex.quote(quoted(key, value.strip("'\"")))
        if several:
            raise UserError(f"{shown(argument)} has several values, which -m runs one by one; {_one(key, value)}")
        raise UserError(
            f"the command line's {shown(argument)} cannot be read: a value with spaces, commas, =, brackets or "
            f"letters beyond ASCII is quoted once for tlcl and once for the shell: {asked}"
        )


def _one(key: str, value: str) -> str:
    """How several values are given as one: a list where conf/ has a list for the key, else a text."""
    group, _, name = key.lstrip("+").rpartition(".")
    if not group and (conf_dir() / name.partition("@")[0]).is_dir():
        return "without it give one of them"
    if group == "thaw" and name.isdigit():
        return f"a list is given as {shlex.quote(f'{key}=[{value}]')}"
    folder = conf_dir() / ("data" if group == "source" else group)
    files = folder.glob("*.yaml") if group else [conf_dir() / "config.yaml"]
    lists = re.compile(rf"(?m)^{re.escape(name)}: *\[")
    if any(lists.search(file.read_text("utf-8")) for file in files):
        return f"a list is given as {shlex.quote(f'{key}=[{value}]')}"
    if NUMBERS.fullmatch(value) or name not in TEXTS:
        return "without it give one of them"
    return f"one text is quoted: {shlex.quote(quoted(key, value))}"


# What takes the other's place: a key, the keys that it makes useless, and why.
USELESS = (
    ("thaw.depth", re.compile(r"thaw\.(\d+|of)"), "a depth takes the milestones' place"),
    ("thaw.blocks", re.compile(r"thaw\.(\d+|of|depth|patience)"), "the blocks take their place"),
    ("data.test", re.compile(r"data\.test_fraction"), "the test images are those of data.test"),
    ("source.test", re.compile(r"source\.test_fraction"), "the test images are those of source.test"),
)


def check_useless(arguments: Sequence[str]) -> None:
    """That no key is given beside one that makes it useless.

    Raises:
        UserError: one is.
    """
    keys = [argument.lstrip("+") for argument in arguments if not argument.startswith(("-", "~"))]
    pairs = [key.partition("=")[::2] for key in keys]
    given = {key: value for key, value in pairs if value not in ("", "null")}
    compared = "compare" in given or given.get("experiment", "").endswith("_compare")
    if compared and "seed" in given:
        raise UserError("seed is of one run; a comparison's seeds are set by compare.seeds=[...]")
    for key, useless, why in USELESS:
        if key == "thaw.depth" and ("thaw.patience" in given or given.get("thaw") == "by_events"):
            continue  # the depth at which it ends
        for other in [name for name in given if useless.fullmatch(name)] if key in given else []:
            both = f"{key}={shown(given[key])} and {other}={shown(given[other])}"
            raise UserError(f"{both}: {why}; leave one of them out")


def check_milestones(arguments: Sequence[str], composed: DictConfig) -> None:
    """That milestones are not given to an experiment or a thaw group that has what takes their place.

    Raises:
        UserError: one is.
    """
    if OmegaConf.select(composed, "thaw.patience") is not None:
        return  # which starts with a milestone, and ends at the depth
    instead = {key: OmegaConf.select(composed, key) for key in ("thaw.depth", "thaw.blocks")}
    keys = [argument.lstrip("+").partition("=")[0] for argument in arguments]
    given = [key for key in keys if re.fullmatch(r"thaw\.\d+", key)]
    for key, value in instead.items():
        if value is not None and given:
            raise UserError(
                f"{given[0]} is a milestone, and {key}={value} takes the milestones' place; add thaw=milestones, "
                f"or {key}=null"
            )


def check_groups(arguments: Sequence[str]) -> None:
    """That no group is given a list with other things than names, on which Hydra fails by a TypeError.

    Raises:
        UserError: one is.
    """
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    for argument in arguments:
        key, _, value = argument.lstrip("+").partition("=")
        group = key.partition("@")[0]
        if group not in groups and not group.startswith("hydra/"):
            continue
        items = value.strip().removeprefix("[").removesuffix("]").split(",")
        if value.lstrip().startswith("[") and not all(NAME.fullmatch(item) for item in items):
            raise UserError(BY_NAME)


def hydra_sentence(error: Exception) -> UserError:
    """Hydra's own complaints in our form."""
    text = str(error)
    for opening in ("Could not override '", "Could not append to config. An item is already at '"):
        if text.startswith(opening):
            key = text.removeprefix(opening).split("'")[0]
            if opening.startswith("Could not append"):
                return UserError(f"'{key}' is already in the config; set it without the +")
            return unknown_key(key)
    for opening, sentence in MISTAKES.items():
        if text.startswith(opening):
            return UserError(sentence)
    if twice := TWICE.match(text):
        group, choice = twice.groups()
        return UserError(f"{group} is chosen already; give {group}={choice} once, without the +")
    if isinstance(error, MissingConfigException):
        _, _, options = text.partition("Available options")
        lines = [line.strip() for line in options.splitlines()[1:]]
        known = [line for line in lines if line and not line.startswith(("Config search", "provider="))]
        hint = f"; there are {', '.join(known)}" if known else ""
        return UserError(f"there is no config '{error.missing_cfg_file}'{hint}")
    first = text.splitlines()[0] if text else type(error).__name__
    return UserError(f"the command line cannot be understood: {first}")
