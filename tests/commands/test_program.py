"""The program `tlcl`: its commands, how soon they answer, and under which name they are recorded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tlcl
from tests.conftest import FAST, ROOT, SCRIPTS
from tlcl.commands.program import COMMANDS
from tlcl.config.schema import conf_dir

HEAVY = ("torch", "torchvision", "lightning", "matplotlib", "sklearn", "scipy", "wandb")
TRAINING = [*FAST, "trainer.epochs=1", "model=small_cnn", "run_dir=run"]


def call(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TLCL_CACHE": str(cwd / "cache"), "COLUMNS": "116"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that an installation makes."""
    path = tmp_path_factory.mktemp("bin") / "tlcl"
    path.write_text(f"#!{sys.executable}\nfrom tlcl.commands.program import main\nmain()\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("line", ["--help", "--version", *(f"{name} --help" for name in COMMANDS)])
def test_no_help_waits_for_torch(line: str) -> None:
    code = f"""
import sys
sys.argv = ["tlcl", *{line.split()}]
from tlcl.commands.program import main
try:
    main()
finally:
    print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    done = call("-c", code)
    assert done.returncode == 0, done.stderr
    *text, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert text[0].startswith(("usage: tlcl", "tlcl train", f"tlcl {tlcl.__version__}"))


def test_help_names_every_command_on_lines_that_fit() -> None:
    text = call("-m", "tlcl", "--help").stdout
    assert text.startswith("usage: python -m tlcl COMMAND")
    assert re.findall(r"(?m)^  ([a-z-]+)  +\w", text) == list(COMMANDS)
    assert max(map(len, text.splitlines())) <= 116


def test_every_script_of_its_own_is_a_command() -> None:
    """`tlcl-NAME` and `tlcl NAME` are one function."""
    modules = {f"tlcl-{name}": f"{module}:main" for name, (module, _) in COMMANDS.items()}
    assert SCRIPTS.items() <= modules.items()


def test_the_version_is_its_own() -> None:
    assert call("-m", "tlcl", "--version").stdout == f"tlcl {tlcl.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "error: there is no command 'trian'; did you mean 'train'?\n"),
        (["+experiment=er"], f"error: there is no command '+experiment=er'; there are {', '.join(COMMANDS)}\n"),
        (["\x1b[2J"], f"error: there is no command '\\x1b[2J'; there are {', '.join(COMMANDS)}\n"),
    ],
    ids=repr,
)
def test_an_unknown_command_is_one_sentence(arguments: list[str], said: str) -> None:
    done = call("-m", "tlcl", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_no_command_is_a_mistake_that_shows_them_all() -> None:
    done = call("-m", "tlcl")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == call("-m", "tlcl", "--help").stdout


def test_what_is_recorded_repeats_the_run(script: Path, tmp_path: Path) -> None:
    """And what a command says of its use begins as the command did."""
    arguments = [*TRAINING, "name=a b"]
    done = call(str(script), "train", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "run" / "environment.json").read_text())["command"]
    assert recorded == f"tlcl train {' '.join(TRAINING)} 'name=a b'"
    assert call(str(script), "predict", "--help").stdout.startswith("usage: tlcl predict ")
    module = "tlcl.commands.predict"
    assert call("-m", module, "--help").stdout.startswith(f"usage: python -m {module} ")


def test_a_mistake_is_that_of_the_command(script: Path, tmp_path: Path) -> None:
    typed = call(str(script), "train", "optim.rl=1", cwd=tmp_path)
    module = call("-m", "tlcl.train", "optim.rl=1", cwd=tmp_path)
    assert typed.returncode == module.returncode == 2
    assert typed.stderr == module.stderr == "error: there is no config key 'optim.rl'; did you mean 'optim.lr'?\n"


@pytest.mark.parametrize("install", ["tlcl -sc install=bash", "tlcl train -sc install=bash"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tlcl d", {"distance", "dashboard", "depth", "depth-grid"}),
        (
            "tlcl train thaw=",
            {f"thaw={path.stem}" for path in (conf_dir() / "thaw").glob("*.yaml")},
        ),
        ("tlcl train thaw=all optim.w", {"optim.weight_decay=", "optim.warmup_epochs="}),
        ("tlcl predict thaw=", set()),
    ],
)
def test_the_tab_key_in_bash(install: str, line: str, words: set[str], script: Path) -> None:
    """As the shell does it: the installed function is called with the line typed so far."""
    text = f"""
eval "$({install})"
complete -p tlcl | grep -q hydra_bash_completion || exit 3
COMP_LINE="{line}" COMP_POINT=${{#COMP_LINE}} COMP_CWORD={len(line.split()) - 1}
hydra_bash_completion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == words
