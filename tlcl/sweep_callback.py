"""Where Hydra calls `tlcl.sweep`: before the first job of a sweep and after the last."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tlcl.errors import run_cli


class SweepCallback(Callback):
    """Errors become exits here, because Hydra makes mere warnings of what its callbacks raise.

    Hydra makes one for --help too, which does not wait for torch: `tlcl.sweep` is imported by what uses it.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from tlcl import sweep

        HydraConfig.instance().set_config(config)  # Hydra does it for jobs alone; Ctrl-C asks for the directory
        _strictly(lambda: sweep.begin(config, sys.argv[1:]))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from tlcl import sweep

        _strictly(lambda: sweep.conclude(Path(str(config.hydra.sweep.dir))))


def _strictly(step: Callable[[], object]) -> None:
    try:
        run_cli(step)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
