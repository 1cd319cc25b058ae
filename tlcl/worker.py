"""A process of a run beside the first: it is told what to run, trains in step, and writes nothing.

`tlcl.distributed.leader` starts it (`python -m tlcl.worker`); torchrun and srun start the first one's command
instead.
"""

import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from tlcl.config.parse import parse_config
from tlcl.distributed.devices import root_device
from tlcl.distributed.launcher import launched_as
from tlcl.distributed.leader import FOREVER, PATIENCE, group, launcher_store
from tlcl.errors import TrainingError, UserError, as_sentences
from tlcl.jobs.registry import run
from tlcl.security.allowlist import check_composed
from tlcl.system.memory import keep_freed_memory
from tlcl.tracking.records import ReadOnlyRunDirectory


def serve_jobs(store: dist.Store, rank: int) -> None:
    """Take part in one job after another, as the first process tells them, until there are no more."""
    for number in count():
        told = json.loads(store.get(f"{number}/job"))
        if told is None:
            store.set(f"heard/{rank}", "")
            return
        report = _take_part(store, number, rank, OmegaConf.create(told["config"]), Path(told["path"]))
        if report is not None:
            store.set(f"{number}/failure/{rank}", json.dumps(report))
            _leave_unless_heard(store, number, report)


def _take_part(
    store: dist.Store, number: int, rank: int, composed: DictConfig, path: Path
) -> dict[str, str] | None:
    """Run the job; returns what it failed of."""
    try:
        check_composed(composed)
        config = parse_config(composed)  # it came as text: a user's own keys are known once his files have run here
        with group(store, number, root_device(config), rank, config.trainer.processes):
            with as_sentences(config, path):
                run(config, ReadOnlyRunDirectory(path))
            store.wait([f"{number}/over"], FOREVER)  # the first one measures; its group goes with ours
    except UserError as error:
        return {"kind": "mistake", "text": str(error)}
    except TrainingError as error:
        return {"kind": "training", "text": str(error)}
    except Exception:
        return {"kind": "unexpected", "text": traceback.format_exc()}
    return None


def _leave_unless_heard(store: dist.Store, number: int, report: dict[str, str]) -> None:
    """Where the first process does not notice that this one has failed, end, so that somebody does."""
    try:
        store.wait([f"{number}/over"], timedelta(seconds=2 * PATIENCE))
    except dist.DistStoreError:
        print(report["text"], file=sys.stderr, flush=True)
        os._exit(2 if report["kind"] == "mistake" else 1)


def _end_with_the_first() -> None:
    """End when the process that started this one has: its end of the pipe is closed then."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _quiet() -> None:
    """The first process says everything; it also answers Ctrl-C."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def serve_launcher() -> None:
    """What a process of torchrun or srun that is not the first does in place of the command."""
    _quiet()
    keep_freed_memory()
    _until_the_store_is_gone(launcher_store(), launched_as()[0])


def main() -> None:
    """Entry of a process that the first one started."""
    _quiet()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process ends this one
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    keep_freed_memory()
    place: dict[str, Any] = dict(os.environ)
    store = dist.TCPStore(
        place["MASTER_ADDR"], int(place["MASTER_PORT"]), is_master=False, wait_for_workers=False, timeout=FOREVER
    )
    _until_the_store_is_gone(store, int(place["RANK"]))


def _until_the_store_is_gone(store: dist.Store, rank: int) -> None:
    try:
        serve_jobs(store, rank)
    except dist.DistNetworkError:  # the first process has ended; its exit code says how
        return


if __name__ == "__main__":
    main()
