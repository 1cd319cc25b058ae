"""The command that asked for a run, from its records, and the command that asks for others like it."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tlcl.config.flags import preset_flags
from tlcl.config.registry import GROUPS
from tlcl.config.schema import conf_dir
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import read_object
from tlcl.tracking.sweep_records import JOB

OVERRIDE = re.compile(r"(\+{0,2}[A-Za-z_][\w.@/]*=|~\w)")
OWN = ("run_dir", "name", "seed")  # keys of one run alone
CACHE, SELECT = "data.cache_prefix", "trainer.select"
COMPARED = re.compile(r"compare\b|experiment=\w+_compare\b|resume=")  # a comparison, or its run, asked


def asked_by(root: Path) -> list[str]:
    """The words of the command that asked; of a job of a sweep, as if it had been given by itself."""
    command = shlex.split(str(read_object(root / "environment.json").get("command", "")))
    job = read_object(root / JOB)
    if job:
        return ["tlcl", "train", *preset_flags(command), *map(str, job["overrides"])]
    return command


def overrides(asked: Sequence[str]) -> list[str]:
    """Those of a command's words that change the config."""
    return [word for word in asked if OVERRIDE.match(word)]


def program(asked: Sequence[str]) -> list[str]:
    """What is typed before them."""
    return ["python", "-m", "tlcl.train"] if asked[:1] == ["python"] else ["tlcl", "train"]


def key_of(word: str) -> str:
    """`data.root` of `+data.root=PACS`."""
    return word.lstrip("+~").partition("=")[0]


def _with_changes(root: Path, group: str, name: str) -> str:
    """How `compare.methods` names a run's own: `er buffer_size=90`, whatever of it is not the group's file's."""
    file = conf_dir() / group / f"{name}.yaml"
    preset: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else {}
    own: Any = OmegaConf.to_container(FinishedRun(root).setting(group) or OmegaConf.create())
    changes = [
        f"{key}={_written(value)}" for key, value in own.items()
        if key not in ("name", "validator") and (key not in preset or preset[key] != value)
    ]  # fmt: skip
    return " ".join([name, *changes])


def _written(value: Any) -> str:
    """A value as `compare.methods` reads it, without blanks."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else "".join(str(value).split())


def _methods_word(methods: Sequence[str]) -> str:
    """`compare.methods=[...]` for Hydra."""
    escaped = [text.replace("\\", "\\\\").replace('"', '\\"') for text in methods]
    words = [f'"{text}"' if " " in text else text for text in escaped]
    return f"compare.methods=[{','.join(words)}]"


def compare_command(
    root: Path, group: str, compare: str, otherwise: str, own: str = "", methods: Sequence[str] = (),
    anew: Sequence[str] = (),
) -> str:  # fmt: skip
    """The command that compares methods on the data, network and settings of a run.

    Methods of adaptation are compared at the last epoch, whichever the run had chosen.

    Args:
        group: of the method, `method` or `adaptation`.
        compare: which comparison.
        otherwise: the experiment to name where the records do not say how the run was asked for.
        own: the run's own method, which takes part with the settings it was given.
        methods: those to compare it with; none: those of the comparison.
        anew: what the other methods need, in the place of what was asked for; `~KEY`: of that nothing.
    """
    asked = asked_by(root)
    given = overrides(asked)
    if not given or any(COMPARED.match(word.lstrip("+")) for word in given):
        return f"tlcl train +experiment={otherwise}"
    words = [f"{SELECT}=last"] if group == "adaptation" and any(key_of(word) == SELECT for word in given) else []
    words += [word for word in anew if not word.startswith("~")]
    preset = list(OmegaConf.load(conf_dir() / "compare" / f"{compare}.yaml").methods)
    compared = list(methods) or list(preset)
    if own in GROUPS[group] and (entry := _with_changes(root, group, own)) not in compared:
        compared.append(entry)
    if compared != preset:
        words.append(_methods_word(compared))
    single = {*OWN, *map(key_of, [*words, *anew])}
    whole = {group, "compare", "hydra", *(key for key in single if "." not in key)}
    kept = [word for word in given if (key := key_of(word)) not in single and re.split("[./]", key)[0] not in whole]
    return shlex.join([*program(asked), *preset_flags(asked), *kept, f"~{group}", f"compare={compare}", *words])
