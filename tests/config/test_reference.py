"""docs/config.md: up to date, whole, and no key without a meaning."""

import re

from tests.conftest import ROOT
from tlcl.config.parse import known_keys
from tlcl.config.reference import meanings_in, reference, together

PAGE = ROOT / "docs" / "config.md"


def rows() -> list[list[str]]:
    lines = [line for line in reference().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "tlcl config-reference > docs/config.md"


def test_every_key_is_there_and_has_a_meaning() -> None:
    listed = {re.match(r"`\+?([\w.]+)`", row[0])[1] for row in rows()}  # type: ignore[index]
    groups = {key.partition(".")[0] for key in known_keys() if "." in key}
    wanted = {key for key in known_keys() if key not in groups and not key.startswith("source.")}
    assert listed == wanted | {"thaw.EPOCH"}
    assert not [row[0] for row in rows() if not row[3]]


def test_every_choice_says_what_it_is_for() -> None:
    choices = [line for line in reference().splitlines() if re.match(r"- `\+?\w+=", line)]
    assert len(choices) > 40
    assert not [line for line in choices if line.endswith("`: ")]


def test_comments_become_meanings() -> None:
    text = "# The file.\nname: a\nsize: 3                # in pixels\n# first line\n# and second\nkind: '#x'\n"
    text += "in:\n  b: 1 # no\n"
    assert meanings_in(text) == {"size": "in pixels", "kind": "first line and second"}
    assert meanings_in(text, 2) == {"b": "no"}


def test_what_differs_names_its_choices() -> None:
    assert together({"a": "1", "b": "1"}, 2) == "1"
    assert together({"a": "2", "b": "1", "c": "1"}, 3) == "1<br>*a:* 2"
    assert together({"a": "1", "b": "2"}, 2) == "*a:* 1<br>*b:* 2"
    assert together({"b": "x"}, 3, "a") == "x"
    assert together({"a": "x", "b": "y", "c": "y"}, 3, "a") == "x<br>*b, c:* y"
