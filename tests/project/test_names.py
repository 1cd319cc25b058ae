"""No page, config, docstring or comment names a file or module that is not there; what would is found."""

import re

import pytest

from tests.conftest import ROOT
from tests.project.names import dead, prose, released_left_out, texts

TEXTS = dict(texts())


def test_what_is_named_is_there() -> None:
    found = {name: dead(text) for name, text in TEXTS.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_everything_was_looked_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/runs.md", "Makefile"} <= set(TEXTS)
    for folder in ("tlcl/jobs/", "tests/project/", "conf/hydra/", "benchmarks/", "torture/", "notebooks/"):
        assert any(name.startswith(folder) for name in TEXTS), folder
    assert "tlcl.jobs.finished" in TEXTS["tlcl/api.py"]


@pytest.mark.parametrize(
    "name",
    [
        "tlcl/gone.py", "tlcl/jobs/gone.py", "tlcl/gone/", "conf/gone/GROUP.yaml", "tests/gone_*.py",
        "docs/gone.md", "leaks.py", "recorded.py", "methods/gone.py", "gone.html.j2", "tlcl.gone", "tlcl.jobs.gone",
        "tlcl.jobs.finished.gone", "tlcl.errors.UserError.gone", "tlcl.errors:gone", "benchmarks.gone",
        "tests.project.gone",
    ],
)  # fmt: skip
@pytest.mark.parametrize("sentence", ["See `{}`.", "{}: as it was", "({})", "python -m {} X", "[it](x), {}, then"])
def test_the_search_finds(name: str, sentence: str) -> None:
    assert dead(sentence.format(name)) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "tlcl/jobs/", "tlcl/api.py", "conf/GROUP", "conf/method/NAME.yaml", "tests/**/test_fuzz_*.py",
        "allowlist.py", "methods/er.py", "FILE.py", "somebody/else/their.py", "~/.config/tlcl/gone",
        "https://example.org/tlcl/gone.py", "run/config.yaml", "tlcl.jobs", "tlcl.api.run(...)",
        "tlcl.errors.UserError", "tlcl.errors:UserError",
        "tlcl.config.schema.Config.seed", "tlcl.__file__", "hydra/help/tlcl.yaml",
    ],
)  # fmt: skip
def test_the_search_leaves_alone(name: str) -> None:
    assert not dead(f"See `{name}`, as said.")


def test_of_tests_what_is_said_is_read() -> None:
    code = 'GONE = "tlcl.one"\n\ndef f():\n    """tlcl.two"""\n    return "tlcl.three"  # tlcl.four\n'
    assert dead("\n".join(prose(code))) == ["tlcl.two", "tlcl.four"]


def test_of_the_changelog_what_is_to_come_is_read() -> None:
    assert released_left_out("# C\n\n## [Unreleased]\n\n- new\n\n## [0.1.0]\n\n- old\n").split() == ["-", "new"]


def test_the_architecture_is_quoted_from_its_contract() -> None:
    """The layers stand once in .importlinter, and CONTRIBUTING shows them as they are there."""
    contract = (ROOT / ".importlinter").read_text()
    (quoted,) = re.findall(r"```ini\n(.*?)```", TEXTS["CONTRIBUTING.md"], re.S)
    assert quoted == contract[contract.index("layers =") :]


def test_the_layers_are_checked_with_every_lint_and_test() -> None:
    recipes = dict(re.findall(r"(?m)^([\w-]+):.*\n((?:\t.*\n)+)", TEXTS["Makefile"]))
    assert all("$(BIN)/lint-imports\n" in recipes[target] for target in ("lint", "test"))


def test_few_files_stand_outside_a_folder() -> None:
    """Two faces for users' files apart."""
    faces = {"__init__", "config_continual", "config_adaptation"}
    assert len({path.stem for path in (ROOT / "tlcl").glob("*.py")} - faces) <= 9
