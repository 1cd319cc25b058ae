"""What only Unix has is nowhere needed: Windows lacks these modules, macOS some functions of them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import FAST, ROOT

UNIX = ("fcntl", "grp", "pwd", "resource", "termios")
# These two have a part for each system, and here they take the one for Unix.
WITHOUT = f"""
import sys
import filelock, psutil
for name in {UNIX}:
    sys.modules[name] = None
"""
EVERY_MODULE = """
import importlib, pkgutil, tlcl
for module in pkgutil.walk_packages(tlcl.__path__, "tlcl."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
A_RUN = """
import os
del os.posix_fallocate, os.sched_getaffinity
from tlcl.train import main
main()
"""


def without_unix(code: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TLCL_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_module_is_imported(tmp_path: Path) -> None:
    without_unix(EVERY_MODULE, tmp_path)


def test_a_run(tmp_path: Path) -> None:
    small = ("model=small_cnn", "data.crop_padding=0", "data.cache_prefix=disk", "trainer.epochs=2", "run_dir=run")
    without_unix(A_RUN, tmp_path, *FAST, *small)
    assert (tmp_path / "run" / "report.html").is_file()
    assert list((tmp_path / "cache" / "prefix").glob("*.bin"))
