"""What surrounds a run: W&B's server, W&B's own process, the clock."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from torture.case import Broken, Case
from torture.expect import sentence, warned
from torture.jobs import ER, FINETUNE, Job, complete, copied, epochs_recorded, half
from torture.same import same_run
from torture.workplace import Workplace

FAMILY = "W&B and the clock"
NO_SERVER = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": ""}
WITH_WANDB = tuple("logger=wandb" if item == "logger=none" else item for item in FINETUNE.arguments)
CLOCK = Path(__file__).with_name("clock")
DAY, YEAR = 86400.0, 365 * 86400.0


def cases() -> Iterator[Case]:
    """W&B without a server or a process; a clock that goes back."""
    yield Case(
        FAMILY, "W&B server unreachable", "a key, and a server that does not answer (nothing listens there)",
        "a warning; the run is complete, recorded offline", _unreachable,
    )  # fmt: skip
    yield Case(
        FAMILY, "W&B server unreachable, logger.mode=online", "as above, where the user wants to be online",
        "exit code 2 and one sentence that names the remedies", _unreachable_online,
    )  # fmt: skip
    yield Case(
        FAMILY, "W&B's process dies", "its background process is killed in training (kill -9)",
        "a warning; the run is complete", _process_dies,
    )  # fmt: skip
    for job in (FINETUNE, ER):
        yield Case(
            FAMILY, f"the clock goes back a day: {job.name}", f"{job.what}; back a day at its first look after 3 s",
            "the same end", partial(_clock, job=job, after="3", offset=-DAY),
        )  # fmt: skip
    yield Case(
        FAMILY, "the clock says 1970", "fine-tuning on a machine whose clock was never set", "the same end",
        lambda place: _clock(place, FINETUNE, "0", None),
    )  # fmt: skip
    yield Case(
        FAMILY, "the clock goes back between kill and resume", "fine-tuning, killed; +resume a year earlier",
        "the same end", _resumed_earlier,
    )  # fmt: skip


def _unreachable(place: Workplace) -> str:
    finished = complete(place.train(*WITH_WANDB, env=NO_SERVER))
    said = warned(finished, "W&B cannot be reached", "offline")
    if not list((place.path / "run" / "wandb").glob("offline-run-*")):
        raise Broken("there is no offline record")
    return f"{said}; complete"


def _unreachable_online(place: Workplace) -> str:
    finished = place.train(*WITH_WANDB, "logger.mode=online", env=NO_SERVER)
    return sentence(finished, 2, "W&B", "logger.mode=offline")


def _process_dies(place: Workplace) -> str:
    child, run = place.start("tlcl.train", *WITH_WANDB), place.path / "run"
    if not child.wait_until(lambda: epochs_recorded(run) >= 3):
        raise Broken("it ended before the moment came")
    below = psutil.Process(child.process.pid).children(recursive=True)
    if not below:
        raise Broken("W&B has no process of its own")
    for process in below:
        process.send_signal(signal.SIGKILL)
    said = warned(complete(child.finish()), "W&B has failed")
    return f"{said}; complete"


def _environment(after: str, offset: float | None) -> dict[str, str]:
    """Of a process whose clock is wrong by `offset` seconds after `after` seconds; None: it says 1970."""
    path = os.pathsep.join([str(CLOCK), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {"PYTHONPATH": path, "TORTURE_CLOCK": f"{after} {'1970' if offset is None else offset}"}


def _clock(place: Workplace, job: Job, after: str, offset: float | None) -> str:
    whole, _ = job.whole(place)
    complete(place.train(*job.arguments, env=_environment(after, offset)))
    same_run(whole, place.path / "run")
    return "the same end"


def _resumed_earlier(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, half(place, FINETUNE) / "run")
    complete(place.train("+resume=run", env=_environment("0", -YEAR)))
    same_run(whole, run)
    return "the same end"
