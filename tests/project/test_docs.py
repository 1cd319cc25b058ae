"""README and docs: every link leads somewhere, and every command that they show is one."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.conftest import ROOT, SCRIPTS
from tlcl import extensions
from tlcl.commands.program import COMMANDS
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CONTINUATION = re.compile(r"\\\n\s*")
PICTURE_BYTES = 250_000


class Command(NamedTuple):
    """A command of a page, in words."""

    page: str
    words: list[str]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def split(line: str) -> list[str]:
    """A shell's words of a line; a comment ends it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    return words[: words.index("#")] if "#" in words else words


def shell_lines(text: str) -> Iterator[str]:
    """Lines of the bash blocks, with variables put in and continued lines joined."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        variables = {"": ""}
        for line in CONTINUATION.sub("", block).splitlines():
            assigned = re.fullmatch(r'(\w+)="([^"]*)"', line.strip())
            if assigned:
                variables[assigned[1]] = assigned[2]
                continue
            yield re.sub(r"\$(\w+)", lambda match: variables[match[1]], line.strip())  # noqa: B023 (used at once)


def commands(names: tuple[str, ...]) -> list[Command]:
    """Commands of all pages that begin with one of `names`, also those within a sentence."""
    found = []
    for page in PAGES:
        text = page.read_text()
        lines = [*shell_lines(text), *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]
        for line in lines:
            if line.startswith(tuple(f"{name} " for name in names)):
                found.append(Command(page.name, split(line)))
    return found


CALLS = {"python -m tlcl.train": 3, "python -m tlcl train": 4, "tlcl train": 2, "tlcl-train": 1}  # words before
TRAIN = [
    Command(page, words[before:]) for call, before in CALLS.items() for page, words in commands((call,))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = page.read_text()
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"{page.name}: [{label}]({target})"
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", file.read_text())
            assert anchor in {slug(heading) for heading in headings}, target
        if file.suffix == ".png":
            assert file.stat().st_size < PICTURE_BYTES, f"{target} is larger than a page should load"
            assert label, f"{target} says nothing to those who cannot see it"


def test_every_module_and_program_named_exists() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    for module in set(re.findall(r"python -m ([\w.]+\w)", text)):
        assert find_spec(module) is not None, module
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", text)):
        assert re.search(rf"(?m)^{''.join(target)}:", makefile), target
    assert set(re.findall(r"\btlcl-[a-z]+(?:-[a-z]+)*", text)) <= set(SCRIPTS)
    named = {command.words[1] for command in commands(("tlcl",))}
    assert {"train", "predict", "allow"} <= named <= {*COMMANDS, "COMMAND", "--help", "--version", "-sc"}


def choices(override: str) -> Iterator[str]:
    """An override for each choice of a sweep; one without a sweep as it is."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        yield override
        return
    key = override.partition("=")[0]
    for value in parsed.sweep_string_iterator():
        yield f"{key}={value}"


@pytest.mark.usefixtures("own_account")  # files that commands name are allowed there alone
@pytest.mark.parametrize("command", TRAIN, ids=lambda command: f"{command.page}: {' '.join(command.words)}"[:90])
def test_a_command_shown_is_understood(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its overrides compose and parse; of a sweep the first and the last of each key's values."""
    words = command.words
    if not words or {"--config-dir", "-sc", "--version"} & set(words) or words[0].startswith("+resume="):
        return  # no overrides of a run
    words = [word for word in command.words if "=" in word or word.startswith("~")]
    flags = [word for word in command.words if word not in words]
    assert set(flags) <= {"-m", "...", "--help", "--hydra-help", "--cfg", "job"}
    monkeypatch.chdir(ROOT)
    extensions.allow_named(words)
    swept = [list(choices(word)) for word in words]
    for pick in (0, -1):
        parse_config(composed_config([values[pick] for values in swept]))


def test_the_number_of_networks_that_were_tested_is_that_of_the_list() -> None:
    lines = (ROOT / "tests/architectures/networks.txt").read_text().splitlines()
    count, families = len(lines), len({line.split()[0] for line in lines})
    assert f"([{count} tested](docs/networks.md))" in (ROOT / "README.md").read_text()
    page = (ROOT / "docs/networks.md").read_text()
    assert page.count(f"{count} networks of {families} families") == 2
