"""One run in several processes, one a device: how they begin, and how all of them end.

The first process reads the command, checks everything and opens the run directory; then the others are told the
checked config, and all of them run the same job in step (`tlcl.worker`). They are started here, or by torchrun
or srun; then they have waited since their own start. What they are told goes through torch's key-value store.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tlcl.config.schema import Config
from tlcl.distributed.collectives import in_group
from tlcl.distributed.devices import cluster_environment, root_device
from tlcl.distributed.launcher import check_launched, launched_as
from tlcl.errors import TrainingError, UserError
from tlcl.quoting import typed
from tlcl.tracking.records import RunDirectory, config_text

FOREVER = timedelta(days=30)  # the first process may measure for hours; one that died is noticed by other means
PATIENCE = 20.0  # seconds in which what another process has to say arrives
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|store", re.IGNORECASE)
SENTENCES: dict[str, type[Exception]] = {"mistake": UserError, "training": TrainingError}
_numbers = count()  # of the jobs that a launcher's processes were told

Work = Callable[[Config, RunDirectory], dict[str, Any]]


def together(
    job: Work, config: Config, directory: RunDirectory, prepare: Callable[[], None]
) -> dict[str, Any]:
    """Run `job` here, or here and in the other processes that the config asks for; returns the first one's summary.

    Args:
        prepare: called before other processes are told anything: what one process does for all, and what can be a
            user's mistake.

    Raises:
        UserError, TrainingError: of any process; RuntimeError: another process failed, with its traceback.
    """
    if in_group() or not config.trainer.shared:
        return job(config, directory)
    check_launched(config.trainer)
    device = root_device(config)
    prepare()
    with _others(config, directory.path) as others:
        others.tell({"config": config_text(config), "path": str(directory.path.resolve())})
        try:
            with group(others.store, others.number, device, 0, config.trainer.processes):
                result = job(config, directory)
        except (UserError, TrainingError):
            raise
        except Exception as error:
            cause = others.cause() if lost_another(error) else None
            if cause is None:
                raise
            raise cause from None
        others.finished()
    return result


def lost_another(error: BaseException) -> bool:
    """Whether this is what torch says when another process is gone."""
    return isinstance(error, RuntimeError) and LOST.search(f"{type(error).__name__} {error}") is not None


@contextlib.contextmanager
def group(store: dist.Store, number: int, device: torch.device, rank: int, world: int) -> Iterator[None]:
    """The process group of one job; NCCL on GPUs, gloo elsewhere. All processes enter it."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=dist.PrefixStore(f"{number}/group", store),
        rank=rank,
        world_size=world,
        timeout=FOREVER,
        device_id=device if on_gpu else None,
    )
    try:
        yield
    finally:
        # Otherwise what runs alone in this process later would wait for the others in its metrics.
        dist.destroy_process_group()


class _Others:
    """The other processes of a job, as the first one sees them."""

    def __init__(self, store: dist.Store, number: int, world: int, run_dir: Path) -> None:
        self.store, self.number, self.world, self.run_dir = store, number, world, run_dir

    def tell(self, what: dict[str, Any]) -> None:
        self.store.set(f"{self.number}/job", json.dumps(what))

    def finished(self) -> None:
        """Let them leave the job."""
        self.store.set(f"{self.number}/over", "")

    def cause(self) -> Exception | None:
        """What another process reports to have failed of, once it does so."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for rank in range(1, self.world):
                key = f"{self.number}/failure/{rank}"
                if self.store.check([key]):
                    return _failure(json.loads(self.store.get(key)), rank, self.world)
                died = self.died(rank)
                if died:
                    return TrainingError(died)
            time.sleep(0.1)
        return None

    def died(self, rank: int) -> str:
        """How the process ended, in words; empty while it lives, or where it cannot be seen from here."""
        return ""


def _failure(report: dict[str, str], rank: int, world: int) -> Exception:
    if report["kind"] in SENTENCES:
        return SENTENCES[report["kind"]](report["text"])
    return RuntimeError(f"process {rank + 1} of {world} failed:\n{report['text']}")


class _Started(_Others):
    """Processes on this machine that this one started, and ends."""

    def __init__(self, store: dist.TCPStore, world: int, run_dir: Path) -> None:
        super().__init__(store, 0, world, run_dir)
        command = [sys.executable, "-m", "tlcl.worker"]
        self._processes = [
            subprocess.Popen(
                command,
                env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,  # closed when this process dies, however it dies
                stdout=subprocess.DEVNULL,
            )
            for rank in range(1, world)
        ]
        self._ending = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End this process when another one has died and this one still waits for it: NCCL would, for ever."""
        while not self._ending:
            dead = [rank for rank in range(1, self.world) if self.died(rank)]
            if dead and not self._ending:
                time.sleep(PATIENCE)
                if not self._ending:
                    print(f"stopped: {self.died(dead[0])}", file=sys.stderr, flush=True)
                    self.kill()
                    os._exit(1)
            time.sleep(0.2)

    def died(self, rank: int) -> str:
        code = self._processes[rank - 1].poll()
        if code is None or (code == 0 and self._ending):
            return ""
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        begun = (self.run_dir / "config.yaml").is_file()
        remedy = f"resume it with {typed('+resume', self.run_dir)}" if begun else "give the same command again"
        return f"process {rank + 1} of {self.world} ended {how}; {remedy}"

    def finished(self) -> None:
        self._ending = True
        super().finished()
        self.store.set(f"{self.number + 1}/job", json.dumps(None))
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)

    def kill(self) -> None:
        """End those that have not ended: they write nothing that could be lost."""
        self._ending = True
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


@contextlib.contextmanager
def _others(config: Config, run_dir: Path) -> Iterator[_Others]:
    """The other processes: started now and ended afterwards, or those of a launcher."""
    processes = config.trainer.processes
    if launched_as()[1] > 1:
        others = _Others(launcher_store(), next(_numbers), processes, run_dir)
        try:
            yield others
        finally:
            others.finished()
        return
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=FOREVER)
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(processes)}
    with _environment({**places, "RANK": "0", "LOCAL_RANK": "0", "NODE_RANK": "0"}):
        mine = _Started(store, processes, run_dir)
        try:
            yield mine
        finally:
            mine.kill()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The environment variables by which Lightning knows its place; a lone task of a launcher's is none of them."""
    before = dict(os.environ)
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@cache
def launcher_store() -> dist.Store:
    """The store that all processes of torchrun or srun share; every one of them asks for it."""
    place = cluster_environment()
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun itself
    store = dist.TCPStore(
        place.main_address, place.main_port, is_master=launched_as()[0] == 0 and not hosted, wait_for_workers=False,
        timeout=timedelta(minutes=10),
    )  # fmt: skip
    store.set_timeout(FOREVER)
    return dist.PrefixStore(f"tlcl/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def dismiss() -> None:
    """Tell a launcher's other processes that no more jobs come; waits a little until they have heard it."""
    if launched_as()[1] == 1:
        return
    with contextlib.suppress(RuntimeError):
        store = launcher_store()
        store.set(f"{next(_numbers)}/job", json.dumps(None))
        store.wait([f"heard/{rank}" for rank in range(1, launched_as()[1])], timedelta(seconds=PATIENCE))
