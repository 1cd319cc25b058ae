"""The Lightning Trainer that every gradient training of the project uses, and its fit."""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch

from tlcl.config.schema import Config
from tlcl.distributed.ddp import InStep
from tlcl.distributed.devices import lightning_devices, root_device
from tlcl.errors import Interrupted
from tlcl.finetuning.depthwise_gradients import DepthwisePrecision
from tlcl.tracking.checkpoint import AtomicCheckpointIO, Misfit

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import has set it to INFO


def choose_device(config: Config) -> torch.device:
    """The device of a run; writes what `auto` precisions mean on it into the config, for the record.

    `trainer.precision=auto` is bf16-mixed where the device computes in bfloat16, else 32-true.

    Raises:
        UserError: see `root_device`.
    """
    device = root_device(config)
    trainer = config.trainer
    if trainer.precision == "auto":
        trainer.precision = "bf16-mixed" if computes_in_bfloat16(device) else "32-true"
    if trainer.frozen_precision == "auto":
        trainer.frozen_precision = trainer.precision
    return device


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 instructions; emulated, they would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot say
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def build_trainer(
    config: Config, run_dir: Path, callbacks: list[L.Callback], loggers: list[Any], **options: Any
) -> L.Trainer:
    """A Trainer by the `trainer` group; `options` go to Lightning as they are."""
    chosen, devices = config.trainer, lightning_devices(config)
    plugins = [AtomicCheckpointIO(), *devices.pop("plugins", [])]
    precision: Any = chosen.precision
    if precision == "bf16-mixed" and root_device(config).type == "cpu":
        plugins.append(DepthwisePrecision())
        precision = None  # Lightning takes one of the two
    return L.Trainer(
        **devices,
        precision=precision,
        max_epochs=chosen.epochs,
        logger=loggers or False,
        callbacks=[InStep(), *callbacks] if chosen.shared else callbacks,
        plugins=plugins,
        log_every_n_steps=chosen.log_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,  # one an epoch: see `RunProgress`
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(run_dir),
        **options,
    )


def fit(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: L.LightningDataModule,
    checkpoint: Path | None,
    run_dir: Path,
) -> None:
    """Train, from `checkpoint` on when there is one.

    Raises:
        Interrupted: by Ctrl-C.
        UserError: the checkpoint is another run's.
    """
    with warnings.catch_warnings():
        # Frozen blocks are in eval on purpose, and batches are gathered from memory: no loader workers.
        warnings.filterwarnings("ignore", message=".*eval mode.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of a deprecated call
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=str(checkpoint) if checkpoint else None,
                weights_only=True,
            )
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit of its own
            raise Interrupted(run_dir) from None
        except (RuntimeError, ValueError) as error:
            # What torch.save makes of a Ctrl-C that meets it while it writes.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise Interrupted(run_dir) from None
            # What modules and optimizers make of another's state.
            if checkpoint and any(words in str(error) for words in ("loading state_dict", "loaded state dict")):
                raise Misfit(checkpoint, error) from None
            raise
