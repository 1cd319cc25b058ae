"""The flags of the command line, which are Hydra's."""

import difflib
import shutil
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

from tlcl.config.parse import known_keys
from tlcl.errors import UserError
from tlcl.system.text import shown

PRINTING, SWEEPING = ("--cfg", "-c", "--info", "-i"), ("-m", "--multirun")


def given_flags(arguments: Sequence[str]) -> set[str]:
    """Those of the arguments that are flags, without their values."""
    return {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}


def hydra_flags() -> list[str]:
    """All flags that Hydra knows, such as `--cfg` and `-c`."""
    return sorted(get_args_parser()._option_string_actions)


def check_flags(arguments: Sequence[str]) -> None:
    """That every word that begins with a dash is a flag of Hydra's, or the beginning of one.

    Raises:
        UserError: one is not.
    """
    known = hydra_flags()
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("-") or any(name.startswith(flag) for name in known):
            continue
        if not flag.startswith("--") and any(flag.startswith(name) for name in known if not name.startswith("--")):
            continue  # a short flag with its value, such as -cjob
        raise UserError(f"there is no flag {shown(flag)}; {_hint(flag, value if equals else 'VALUE')}")


def check_alone(arguments: Sequence[str]) -> None:
    """That nothing is given that only goes with what is not.

    Raises:
        UserError: a flag of --cfg without it, the directory of a sweep without -m, Hydra's own of a run, or Slurm
            where there is none.
    """
    flags = given_flags(arguments)
    for flag in ("--package", "-p", "--resolve"):
        if flag in flags and flags.isdisjoint(PRINTING):
            raise UserError(f"{flag} is of --cfg, which prints the config; add --cfg job, or leave it out")
    if "hydra/launcher=slurm" in arguments and shutil.which("srun") is None:
        raise UserError("hydra/launcher=slurm needs Slurm's srun, which is not here; set hydra/launcher=joblib")
    printed = sorted(flags.intersection(PRINTING))
    if printed and flags.intersection(SWEEPING):
        raise UserError(f"{printed[0]} prints the config of one run; leave out -m, and give one value of each key")
    for argument in arguments:
        if argument.startswith("hydra.run.dir="):
            raise UserError("hydra.run.dir is not read; a run's directory is run_dir=FOLDER")
    if flags.isdisjoint(SWEEPING):
        for argument in arguments:
            if argument.startswith("hydra.sweep.dir="):
                raise UserError("hydra.sweep.dir is the directory of a sweep; add -m, or set run_dir for one run")


def _hint(flag: str, value: str) -> str:
    """What was meant: a key of that name, or a flag much like it."""
    name = flag.lstrip("-").replace("-", "_")
    keys = [key for key in known_keys() if name in (key, key.rpartition(".")[2])]
    keys.sort(key=lambda key: key != name)  # a key of the top of that name first
    if name == "resume":
        return "a run is resumed with +resume=RUN_DIR"
    if keys:
        return f"a key is given without dashes: {keys[0]}={value}"
    near = difflib.get_close_matches(flag, [*hydra_flags(), "--resume"], n=1, cutoff=0.75)
    if near == ["--resume"]:
        return _hint("--resume", value)
    return f"did you mean {near[0]}?" if near else "tlcl train --help shows them; a key is given as KEY=VALUE"


def preset_flags(words: Sequence[str]) -> list[str]:
    """Those of a command's words that name a folder of presets: `--config-dir FOLDER`."""
    kept: list[str] = []
    for place, word in enumerate(words):
        flag, equals, _ = word.partition("=")
        if flag not in ("--config-dir", "-cd"):
            continue
        kept += [word] if equals else list(words[place : place + 2])
    return kept
