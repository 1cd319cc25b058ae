"""What is printed to be copied is read again as it was meant, by the shell and by Hydra."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tlcl.quoting import typed


@pytest.mark.parametrize(
    "path",
    ["runs/2026-11-30_08", "my runs/x, (1)", "d'été", 'a"b', "a\\b", "~x", "$HOME", "a=b", "-x", "[1]", "null",
     "1e5", "1_0", "True", "12", "inf", "../a", "/a/1", "nan/1"],
)  # fmt: skip
def test_a_path_comes_back(path: str) -> None:
    (word,) = shlex.split(typed("+resume", path))
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == ("resume", path)


def test_a_plain_path_is_not_quoted() -> None:
    for path in ("runs/own_images/2026-11-30", "/tmp/runs/1", "../run", "run"):
        assert typed("+resume", path) == f"+resume={path}"
