"""Shared by tests of several folders: fast configs, runs, and what they may not leave behind."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hypothesis import HealthCheck, settings
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from tlcl import extensions
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.config.schema import Config, conf_dir
from tlcl.errors import UserError
from tlcl.jobs.registry import run
from tlcl.tracking.records import RunDirectory

ROOT = Path(__file__).parent.parent
# what an installation puts beside `tlcl`: name -> MODULE:FUNCTION
SCRIPTS = dict(re.findall(r'(?m)^(tlcl-[\w-]+) = "([\w.:]+)"$', (ROOT / "pyproject.toml").read_text()))
FAST = [
    "model.weights=none",
    "logger=none",
    "data.train_size=96",
    "data.val_size=40",
    "data.batch_size=32",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.progress=false",
]


# `quick` draws the same examples on every machine; `make fuzz` draws others each time, and many more.
settings.register_profile(
    "quick", derandomize=True, database=None, deadline=None, max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile("thorough", settings.get_profile("quick"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("TLCL_FUZZ", "quick"))


def composed(tmp_path: Path, *overrides: str) -> DictConfig:
    """A composed config of a small fast run in tmp_path/run."""
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose("config", [*FAST, *overrides])
    OmegaConf.set_struct(config, False)
    config.run_dir, config.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    return config


def go(config: DictConfig, job: Callable[[Config, RunDirectory], dict] = run) -> Path:
    """Run `job`, by default the config's own, in its run directory, or resume there; returns the directory."""
    parsed, path = parse_config(config.copy()), Path(config.run_dir)  # a mistake shows before there is a directory
    directory = RunDirectory(path, resume=(path / "config.yaml").exists())
    try:
        job(parsed, directory)
    finally:
        directory.close()
    return path


@pytest.fixture
def train_cli(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `python -m tlcl.train` as a user would, from an empty folder."""

    def call(*arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tlcl.train", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TLCL_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "offline"},
        )

    return call


def refusal(call: Callable[[], object], *kinds: type[Exception]) -> str | None:
    """The sentence with which `call` refuses; None when it does not. Other errors pass."""
    try:
        call()
    except (UserError, *kinds) as error:
        assert str(error)  # noqa: PT017 (both ends are right)
        assert "\n" not in str(error)  # noqa: PT017
        return str(error)
    return None


@pytest.fixture
def own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that has named no file yet; what a test registers is gone after it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "account"))
    tables: list[dict] = [group.known for group in GROUPS.values() if list(group)]  # all files are imported
    tables.append(extensions.LOADED)
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)
    for group in GROUPS:
        nodes = ConfigStore.instance().repo.get(group, {})
        for name in [name for name, node in nodes.items() if node.provider == "extend"]:
            del nodes[name]


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """Equal thread counts give equal sums, in shared fixtures and in the processes that tests start too."""
    # A shell lets what it starts in the background ignore Ctrl-C, and so the programs that these tests interrupt.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # more than cores only slow the suite
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, min(2, cores // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


@pytest.fixture(autouse=True, scope="module")
def _what_stays() -> Iterator[None]:
    """Packages, once imported, are not looked through for garbage again: that took a seventh of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Figures are made, but each picture is one blank pixel: drawing takes a third of so short a run."""
    content = BytesIO()
    Image.new("RGB", (1, 1)).save(content, "png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **_: file.write(content.getvalue()))
        yield


@pytest.fixture(autouse=True)
def _log_handlers() -> Iterator[None]:
    """What the program sets up for its log goes to the test's own output, which is closed afterwards."""
    before = list(logging.root.handlers)
    yield
    for handler in list(logging.root.handlers):
        if type(handler) is logging.StreamHandler and handler not in before:
            logging.root.removeHandler(handler)
