"""What is published: an sdist with all that belongs to it, the wheel made of it, and the program it installs."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import FAST, ROOT

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout and the wheel that was built from the sdist alone."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment: the wheel, and beside it this environment's packages but not its checkout.

    So no network is needed; the workflow installs the packages anew.
    """
    home = tmp_path_factory.mktemp("home") / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    # A path that a .pth file names has its own .pth files passed over, which is how the checkout is installed here.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def call(installed: Path, cwd: Path, program: str, *arguments: str) -> str:
    result = subprocess.run(
        [str(installed / "bin" / program), *arguments],
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "TLCL_CACHE": str(cwd / "cache")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_sdist_has_what_belongs_to_it(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout to compare with")
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    assert {name for name in tracked.stdout.splitlines() if not name.startswith(".")} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".git/", ".venv", "runs/"))]


def test_the_wheel_has_the_package_alone(built: Path) -> None:
    """Its configs once, its templates, its licence; no tests, and nothing of the checkout's leftovers."""
    (path,) = built.glob("*.whl")
    names = zipfile.ZipFile(path).namelist()
    configs = [path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")]
    assert sorted(name.removeprefix("tlcl/conf/") for name in names if "conf/" in name) == sorted(configs)
    sources = [path for path in (ROOT / "tlcl").rglob("*") if path.suffix in (".py", ".j2")]
    about = {name for name in names if name.startswith("tlcl-")}
    expected = {path.relative_to(ROOT).as_posix() for path in sources} | {f"tlcl/conf/{name}" for name in configs}
    assert set(names) - about == expected
    assert any(name.endswith("licenses/LICENSE") for name in about)


def test_the_sdist_installs_what_the_wheel_has(built: Path, tmp_path: Path) -> None:
    """By pip, as for someone who gets no wheel; `--no-deps`: the packages are those of these tests."""
    (path,) = built.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(tmp_path / "site"), str(path)], check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        expected = {name: archive.read(name) for name in archive.namelist() if name.startswith("tlcl/")}
    files = [path for path in (tmp_path / "site" / "tlcl").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.relative_to(tmp_path / "site").as_posix(): path.read_bytes() for path in files} == expected


def test_every_command_is_installed_and_answers(installed: Path, tmp_path: Path) -> None:
    for script in SCRIPTS:
        assert (installed / "bin" / script).is_file()
    assert "thaw" in call(installed, tmp_path, "tlcl-train", "--help")
    config = call(installed, tmp_path, "tlcl-train", "+experiment=finetune_layerwise", "--cfg", "job")
    assert "\nthaw:\n" in config
    assert "thaw" in call(installed, tmp_path, "tlcl", "train", "--help")
    assert "usage: tlcl-predict" in call(installed, tmp_path, "tlcl-predict", "--help")


def test_the_installed_program_trains(installed: Path, tmp_path: Path) -> None:
    """A whole run in an empty folder, with nothing of the checkout in reach."""
    where = call(installed, tmp_path, "python", "-c", "import tlcl; print(tlcl.__file__)").strip()
    assert Path(where).is_relative_to(installed)
    call(installed, tmp_path, "tlcl-train", *FAST, "trainer.epochs=1", "model=small_cnn", "run_dir=run")
    run = tmp_path / "run"
    assert json.loads((run / "summary.json").read_text())["status"] == "complete"
    assert json.loads((run / "environment.json").read_text())["command"].startswith("tlcl-train ")
    assert (run / "report.html").stat().st_size > 10_000
