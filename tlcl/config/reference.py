"""Every config key with its type, range, default and meaning: `tlcl config-reference > docs/config.md`.

Types and ranges come from the fields of the dataclasses, defaults and meanings from `conf/` and its comments, so
that nothing is said twice.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import yaml
from annotated_types import Ge, Gt, Lt

from tlcl.config.ranges import OneOf, limits
from tlcl.config.registry import GROUPS
from tlcl.config.schema import PLAIN, Config, conf_dir
from tlcl.config.thaw import ONLY
from tlcl.system.command import called

KEY = re.compile(r"^(?P<indent> *)'?(?P<key>\w+)'?:(?P<rest>.*)$")
FIRST = {"data": "digits", "model": "resnet18", "logger": "wandb"}  # the choice whose comments speak for all
INTRO = """# Every config key

The page is made by `tlcl config-reference` from the comments in [conf/](../conf) and the types and ranges of the
dataclasses in [tlcl/config](../tlcl/config) and beside each method, backbone and data source; a test keeps it up to
date.

A key is set by `KEY=VALUE` (`optim.lr=0.01`), a group by `GROUP=CHOICE` (`model=small_cnn`), which sets all its
keys; keys given beside it come on top. `???`: must be given. `tlcl train ... --cfg job` prints what a command comes
to, without running it. An unknown key, a wrong type or a value out of range is one sentence and exit code 2."""
ABOUT = {
    "continual": "Optional: tasks one after another, see [continual.md](continual.md).",
    "method": "Optional, with `continual`: how forgetting is met.",
    "compare": "Optional, in the place of `method` (`compare=default`) or `adaptation` (`compare=adaptation`): "
    "several of them with several seeds, each a run of its own; finished ones are not run again.",
    "adaptation": "Optional, with `data@source=CHOICE`: see [adaptation.md](adaptation.md).",
    "depth": "Optional (`depth=race`, or `tlcl depth PHOTOS`): how deep to retrain, each setting against the head "
    "alone on the same held-out images.",
    "data": "The images. `data@source=CHOICE` chooses the labelled source domain of an adaptation in the same way; "
    "its keys are the same ones under `source.`.",
    "thaw": "Which blocks train from which epoch on: `depth`, or epochs with the blocks that thaw there.",
}


@dataclass(frozen=True)
class GroupFile:
    """One choice of a group: its name, what it is for, its values, and the comments on them."""

    name: str
    about: str
    values: dict[str, Any]
    meanings: dict[str, str]


def meanings_in(text: str, indent: int = 0) -> dict[str, str]:
    """Key -> the comment at the end of its line, or the lines of comment before it, for keys indented so far.

    The comment that the file begins with is the file's own.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    for line in text[len(_heading(text)) :].splitlines():
        match = KEY.match(line)
        if line.lstrip().startswith("#"):
            above.append(line.lstrip("# "))
            continue
        if match and len(match["indent"]) == indent:
            meaning = " ".join([*above, match["rest"].partition(" # ")[2].strip()]).strip()
            if meaning:
                found[match["key"]] = meaning
        above = []
    return found


def _heading(text: str) -> str:
    return re.match(r"(#.*\n)*", text)[0]  # type: ignore[index]


def heading_of(text: str) -> str:
    """The comment that a file begins with, in one line."""
    return " ".join(line.lstrip("# ") for line in _heading(text).splitlines() if not line.startswith("# @"))


def read_group(group: str) -> list[GroupFile]:
    """The files of conf/GROUP; those that build on another one have its values and comments too."""
    files: dict[str, GroupFile] = {}
    paths = sorted((conf_dir() / group).glob("*.yaml"))
    for path in sorted(paths, key=lambda path: "defaults:" in path.read_text()):
        text = path.read_text()
        values: dict[str, Any] = yaml.safe_load(text) or {}
        bases = [files[base] for base in values.pop("defaults", []) if isinstance(base, str) and base in files]
        for base in bases:
            values = {**base.values, **values}
        meanings = {key: meaning for base in bases for key, meaning in base.meanings.items()}
        files[path.stem] = GroupFile(path.stem, heading_of(text), values, {**meanings, **meanings_in(text)})
    return [files[path.stem] for path in paths]


def type_in_words(hint: Any) -> str:
    """`int | None` -> `int or null`."""
    if hint is Any:
        return "number or list"
    text = hint.__name__ if type(hint) is type else str(hint)
    text = re.sub(r"list\[(\w+)\]", r"list of \1", text)
    return re.sub(r"dict\[str, (\w+)\]", r"names to \1", text).replace(" | None", " or null")


def allowed(schema: type, name: str) -> str:
    """Type and range of a key in words."""
    parts = [type_in_words(get_type_hints(schema)[name])]
    for limit in limits(schema)[name]:
        match limit:
            case OneOf(values=values):
                return " \\| ".join(f"`{value}`" for value in values)
            case Ge(ge=least):
                parts.append(f"at least {least:g}")
            case Gt(gt=least):
                parts.append(f"above {least:g}")
            case Lt(lt=most):
                parts.append(f"below {most:g}")
    return ", ".join(parts)


def as_override(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{value}`"


def together(by_choice: dict[str, str], every: int, first: str | None = None) -> str:
    """`64`, and below it *cifar10, letters:* `128`: what most choices have, then the others with their choices.

    Args:
        every: the number of choices that have the key.
        first: the choice whose text speaks for those that have none.
    """
    choices: dict[str, list[str]] = defaultdict(list)
    for choice, text in by_choice.items():
        choices[text].append(choice)
    common, *others = sorted(choices, key=lambda text: (first not in choices[text], -len(choices[text])))
    if not others:
        return common
    speaks = first in choices[common] or len(choices[common]) > every / 2
    opening = common if speaks else f"*{', '.join(choices[common])}:* {common}"
    return "<br>".join([opening, *(f"*{', '.join(choices[text])}:* {text}" for text in others)])


def table(rows: list[tuple[str, str, str, str]]) -> str:
    """A Markdown table."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def escaped(text: str) -> str:
    """A comment in a Markdown table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text).replace("<", "&lt;")


def key_rows(
    group: str, files: list[GroupFile], schemas: dict[str, type], selector: str
) -> list[tuple[str, str, str, str]]:
    """A row for each key that some choice of the group has.

    Args:
        schemas: choice -> its dataclass.
        selector: the key that names the choice itself.
    """
    rows, names = [], dict.fromkeys(item.name for file in files for item in fields(schemas[file.name]))
    for name in names:
        having = [file for file in files if name in file.values]
        key = f"{group}.{name}"
        if name == selector:
            rows.append((f"`{key}`", "str", "", f"the choice itself; set by `{group}=CHOICE`"))
            continue
        said = {file.name: escaped(file.meanings[name]) for file in having if name in file.meanings}
        only = "" if len(having) == len(files) else f" ({', '.join(file.name for file in having)})"
        default = together({file.name: as_override(file.values[name]) for file in having}, len(having))
        meaning = together(said, len(having), FIRST.get(group)) if said else ""
        rows.append((f"`{key}`{only}", allowed(schemas[having[0].name], name), default, meaning))
    return rows


def group_section(group: str) -> Iterator[str]:
    """A group's choices and keys."""
    files = read_group(group)
    yield f"## {group}\n\n{ABOUT.get(group, '')}".strip()
    if len({file.about for file in files}) > 1:
        yield "\n".join(f"- `{group}={file.name}`: {file.about}" for file in files)
    if group == "thaw":
        known = {key: meaning for file in files for key, meaning in file.meanings.items()}
        epoch = "how deep training goes from then on, e.g. `thaw.15=1`; or what thaws, `thaw.15=[layer4]`"
        deep = "int, a block's name, `all` or null"
        rows = [
            ("`thaw.depth`", deep, "`null`; head_only: `0`; all: `all`", escaped(known["depth"])),
            ("`thaw.of`", "int or null", "`null`; layerwise: `35`", escaped(known["of"])),
            ("`thaw.blocks`", "list of blocks or null", "`null`", escaped(known["blocks"])),
            ("`thaw.only`", " \\| ".join(f"`{value}`" for value in ONLY), "`all`", escaped(known["only"])),
            ("`thaw.patience`", "int or null", "`null`; by_events: `3`", escaped(known["patience"])),
            ("`thaw.EPOCH`", "int, a block's name, or a list of blocks", "", epoch),
        ]
        yield table(rows)
        return
    if group in GROUPS:
        selector = GROUPS[group].selector
        schemas = {file.name: GROUPS[group][file.values[selector]].keys for file in files}
    else:
        selector, schemas = "", {file.name: PLAIN[group] for file in files}
    yield table(key_rows(group, files, schemas, selector))


def inline_rows(group: str, text: str, schema: type) -> list[tuple[str, str, str, str]]:
    """Rows of keys that stand in conf/config.yaml itself; `group` is empty for those at its top."""
    values = yaml.safe_load(text)
    meanings = meanings_in(text, 2 if group else 0)
    rows = []
    for name in get_type_hints(schema):
        key = f"{group}.{name}" if group else name
        value = (values[group] if group else values).get(name)
        rows.append((f"`{key}`", allowed(schema, name), as_override(value), escaped(meanings.get(name, ""))))
    return rows


def reference() -> str:
    """The whole page."""
    text = (conf_dir() / "config.yaml").read_text()
    top = [row for row in inline_rows("", text, Config) if row[0].strip("`") not in {*GROUPS, *PLAIN, "thaw"}]
    top.append(("`+resume`", "str", "", "the directory of a run to resume; nothing else is given beside it"))
    parts = [INTRO, "## The run", table(top)]
    for group in ("data", "model", "thaw"):
        parts += group_section(group)
    parts += ["## optim", table(inline_rows("optim", text, PLAIN["optim"]))]
    for group in ("trainer", "logger", "continual", "method", "adaptation", "compare", "depth"):
        parts += group_section(group)
    experiments = [f"- `+experiment={file.name}`: {file.about}" for file in read_group("experiment")]
    parts += ["## experiment\n\nReady-made settings of several groups; given with a plus.", "\n".join(experiments)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Command line entry."""
    argparse.ArgumentParser(prog=called(), description=__doc__).parse_args()
    print(reference(), end="")


if __name__ == "__main__":
    main()
