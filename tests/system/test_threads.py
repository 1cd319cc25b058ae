"""Threads that wait sleep, by whatever name the program is called, unless the user wants them to spin."""

import os
import subprocess
import sys

import pytest

ENTRIES = ("tlcl", "tlcl.api", "tlcl.train", "tlcl.worker", "tlcl.commands.program", "tlcl.commands.predict")


def policies(module: str, given: str | None) -> list[str]:
    """What OpenMP reads when torch is loaded after the module, or by it; then what a process started here gets."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = f"""
import os, subprocess, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            sys.meta_path.remove(self)

sys.meta_path.insert(0, Finder())
import {module}
import torch
child = "import os; print(os.environ.get('OMP_WAIT_POLICY'))"
subprocess.run([sys.executable, "-c", child], check=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("module", ENTRIES)
def test_they_sleep(module: str) -> None:
    assert policies(module, None) == ["PASSIVE", "PASSIVE"]


def test_the_user_has_the_last_word() -> None:
    assert policies("tlcl.train", "ACTIVE") == ["ACTIVE", "ACTIVE"]
