"""What a newcomer meets first: --help of every command, and the TAB key."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SCRIPTS
from tlcl.config.schema import conf_dir

BIN = Path(sys.executable).parent



def out(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_training_help_is_a_page_with_examples() -> None:
    text = out(sys.executable, "-m", "tlcl.train", "--help")
    assert len(re.findall(r"(?m)^  tlcl train .*\n      \w", text)) == 3
    for group in ("data", "model", "thaw", "method", "adaptation", "experiment"):
        line = re.search(rf"(?m)^{group}: (.*)$", text)
        assert line is not None
        assert line[1].split(", ") == sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    assert "--cfg job" in text
    assert "tlcl config-reference" in text
    assert "block_lr_decay" not in text, "the whole config is what --cfg job is for"
    assert len(text.splitlines()) < 50


@pytest.mark.parametrize("arguments", [["--help"], ["-sc", "query=bash"]], ids=" ".join)
def test_help_and_completion_do_not_wait_for_torch(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "tlcl-train thaw=")
    code = f"""
import sys
sys.argv[1:] = {arguments}
import tlcl.train
try:
    tlcl.train.main()
finally:
    print(sorted({{'torch', 'lightning', 'matplotlib'}} & set(sys.modules)))
"""
    assert out(sys.executable, "-c", code).splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "tlcl-train"])
def test_help_of_the_other_commands(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, function = SCRIPTS[name].partition(":")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    monkeypatch.setenv("COLUMNS", "120")
    program = getattr(__import__(module, fromlist=[function]), function)
    with pytest.raises(SystemExit) as left:
        program()
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {name} ")
    assert re.search(rf"(?m)^examples?: {name} ", text)
    options = text.partition("options:")[2]
    # Each option with its meaning beside or below it.
    assert not re.findall(r"(?m)^  (--[\w-]+(?: \S+)*)$\n(?!   )", options)


@pytest.mark.skipif(not (BIN / "tlcl-train").is_file(), reason="tlcl is not installed here")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "tlcl-train thaw=",
            {f"thaw={path.stem}" for path in (conf_dir() / "thaw").glob("*.yaml")},
        ),
        ("tlcl-train +experiment=adapt_d", {"+experiment=adapt_digits"}),
        ("tlcl-train thaw=all optim.w", {"optim.weight_decay=", "optim.warmup_epochs="}),
    ],
)
def test_the_tab_key_in_bash(line: str, words: set[str]) -> None:
    """As the shell does it: the installed function is called with the line typed so far."""
    script = f"""
eval "$(tlcl-train -sc install=bash)"
COMP_LINE="{line}" COMP_POINT=${{#COMP_LINE}} COMP_CWORD={len(line.split()) - 1}
hydra_bash_completion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == words
