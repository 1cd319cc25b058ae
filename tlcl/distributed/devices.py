"""Which devices a run works on, as Lightning is told."""

from typing import Any

import joblib
import lightning as L
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from tlcl.config.schema import Config
from tlcl.distributed.ddp import ThawingDDP
from tlcl.distributed.launcher import launched_as
from tlcl.errors import UserError
from tlcl.system.figures import counted

PROCESSES = 4  # on one processor; more of them do nothing but wait


def root_device(config: Config) -> torch.device:
    """The device that `trainer.accelerator` means on this machine, of `trainer.devices` the one of this process.

    Raises:
        UserError: it has no such accelerator, or fewer devices.
    """
    chosen = config.trainer
    try:
        trainer = L.Trainer(
            **lightning_devices(config), logger=False, enable_checkpointing=False
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.accelerator={chosen.accelerator} with trainer.devices={chosen.devices} is not to be had here "
            f"({str(error).strip().splitlines()[0]}); use trainer.accelerator=auto"
        ) from None
    device, processors = trainer.strategy.root_device, joblib.cpu_count()
    if device.type == "cpu" and chosen.devices > PROCESSES * processors:
        raise UserError(
            f"trainer.devices={chosen.devices} processes are too many for the "
            f"{counted(processors, 'processor')} here; set trainer.devices={processors}"
        )
    return device


def lightning_devices(config: Config) -> dict[str, Any]:
    """What Lightning is told of devices, nodes and strategy."""
    chosen = config.trainer
    told: dict[str, Any] = {"accelerator": chosen.accelerator, "devices": chosen.devices}
    if not chosen.shared:
        return told
    told |= {"num_nodes": chosen.num_nodes, "strategy": ThawingDDP()}
    return {**told, "plugins": [cluster_environment()]}


def cluster_environment() -> ClusterEnvironment:
    """Lightning's description of what started this process: its rank, and where the first one is to be found."""
    if launched_as()[1] > 1:
        if TorchElasticEnvironment.detect():
            return TorchElasticEnvironment()
        return SLURMEnvironment(auto_requeue=False)  # a run is resumed by +resume, in its own directory
    return LightningEnvironment()
