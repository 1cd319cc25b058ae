"""The files and modules that a text names, and which of them are not there."""

import ast
import io
import json
import pkgutil
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

from tests.conftest import ROOT

CODE = ("tlcl", "benchmarks", "torture", "notebooks", "docs", "tests")
FOLDERS = "|".join((*CODE, "conf"))
PATH = re.compile(rf"(?<![\w./~-])(?:{FOLDERS})/(?:[\w./*-]*[\w*/])?")
# A file without its first folder, such as `allowlist.py` or `methods/er.py`.
FILE = re.compile(rf"(?<![\w./*-])(?!(?:{FOLDERS})/)(?:[\w-]+/)*[\w-]+\.(?:py|ipynb|html\.j2)\b")
MODULE = re.compile(r"(?<![\w./-])(?!\w+\.(?:yaml|py)\b)(?:tlcl|benchmarks|torture|tests)(?:\.\w+)+(?::\w+)?")
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")  # `conf/GROUP` stands for any group


def texts() -> Iterator[tuple[str, str]]:
    """(file, what is read of it): whole pages, configs and code; of the changelog what is not released yet.

    Of tests the docstrings and comments, as their code invents names.
    """
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "RESULTS.md", ROOT / "Makefile"]
    for path in [*pages, *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("tlcl/**/*.j2"), *ROOT.glob(".github/**/*.yml")]:
        text = path.read_text()
        yield path.relative_to(ROOT).as_posix(), released_left_out(text) if path.name == "CHANGELOG.md" else text
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            yield path.relative_to(ROOT).as_posix(), "\n".join(prose(source)) if folder == "tests" else source
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        yield path.relative_to(ROOT).as_posix(), "\n".join("".join(cell["source"]) for cell in cells)


def released_left_out(changelog: str) -> str:
    """Its part before the first version: what came before may name what is gone."""
    return changelog.partition("\n## [Unreleased]")[2].partition("\n## [")[0]


def prose(source: str) -> Iterator[str]:
    """The docstrings and comments of Python code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def dead(text: str) -> list[str]:
    """What `text` names and the project does not have, as it is written there."""
    paths = [name for name in PATH.findall(text) if not any(ROOT.glob(PLACEHOLDER.sub("*", name)))]
    files = [name for name in FILE.findall(text) if not (PLACEHOLDER.search(name) or _ends_a_path(name))]
    return [*paths, *files, *(name for name in MODULE.findall(text) if not _is_there(name))]


@cache
def _ends_a_path(name: str) -> bool:
    """Whether there is such a file somewhere, or its folder is none of ours."""
    first, slash, _ = name.partition("/")
    wanted = [name] if not slash or _somewhere(f"{first}/") else []
    return all(map(_somewhere, wanted))


def _somewhere(name: str) -> bool:
    return any(next(ROOT.glob(f"{folder}/**/{name}"), None) for folder in CODE)


@cache
def _is_there(name: str) -> bool:
    """Whether it is a module, or a name in one: a class, a function, a field."""
    try:
        if ":" not in name and find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        owner, _, last = name.rpartition(".")
        try:
            return last in getattr(pkgutil.resolve_name(owner), "__dataclass_fields__", {})
        except (ImportError, AttributeError):
            return False
    return True
