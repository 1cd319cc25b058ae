"""Whether this process belongs to a sweep; without torch, so that it can be asked before anything is imported."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def sweep_directory() -> Path | None:
    """The directory of the sweep that this process is in; None when it is in none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(str(HydraConfig.get().sweep.dir))
