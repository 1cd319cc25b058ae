"""Where Hydra calls `tlcl.sweeps.plan`: before the first job of a sweep and after the last."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from tlcl.errors import run_cli


class SweepCallback(Callback):
    """Errors become exits here, because Hydra makes mere warnings of what its callbacks raise.

    Hydra makes one for --help too, which does not wait for torch: `tlcl.sweeps.plan` is imported by what uses it.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from tlcl.sweeps import plan as sweep

        HydraConfig.instance().set_config(config)  # Hydra does it for jobs alone; Ctrl-C asks for the directory
        _strictly(lambda: sweep.begin(config, sys.argv[1:]))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from tlcl.sweeps import plan as sweep

        _strictly(lambda: sweep.conclude(Path(str(config.hydra.sweep.dir))))


def _strictly(step: Callable[[], object]) -> None:
    try:
        run_cli(step)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def sweep_directory() -> Path | None:
    """The directory of the sweep that this process is in; None when it is in none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(str(HydraConfig.get().sweep.dir))
