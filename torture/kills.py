"""kill -9 at random moments, and the same end in spite of it."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator

from torture.case import Broken, Case
from torture.jobs import DANN, DER_PP, ER, FINETUNE, LWF, Job, complete, epochs_recorded, go_on
from torture.same import same_run
from torture.workplace import Child, Finished, Workplace

FAMILY = "kill -9"
TURNS = (FINETUNE, ER, FINETUNE, DANN, FINETUNE, DER_PP, LWF, DANN)  # which run the next kill is done to
JITTER = 0.1  # seconds: waiting for the disk takes no processor time, so that moments lie in it too
TRIES = 5
# Of the moments: while packages and data are loaded, in training, and in test and report.
SHARES = {"start": 0.15, "training": 0.6, "end": 0.25}


def cases(count: int, seed: int) -> Iterator[Case]:
    """`count` kills; every fifth run is killed a second time when it is resumed."""
    for number in range(count):
        yield kill_case(TURNS[number % len(TURNS)], number, seed)


def kill_case(job: Job, number: int, seed: int) -> Case:
    times = 2 if number % 5 == 4 else 1
    return Case(
        FAMILY,
        f"kill {number + 1}: {job.name}",
        f"{job.what}; at random moments (a fifth of the runs twice)",
        "resumed with +resume (or, if it had not begun, the same command), it comes to the same end",
        lambda place: _kill(place, job, random.Random(f"{seed}/{number}"), times),
        together=job.name,
    )


def _kill(place: Workplace, job: Job, draw: random.Random, times: int) -> str:
    whole, finished = job.whole(place)
    moments = []
    for _ in range(TRIES):
        child = place.start("tlcl.train", *job.arguments)
        moment = _kill_at(child, place, job, draw, finished)
        if moment is not None:
            moments.append(moment)
            break
        shutil.rmtree(place.path / "run")  # it had ended before
    else:
        raise Broken(f"the run ended before its moment {TRIES} times")
    if times == 2:
        begun = (place.path / "run" / "config.yaml").is_file()
        child = place.start("tlcl.train", *(("+resume=run",) if begun else job.arguments))
        again = _kill_at(child, place, job, draw, finished)
        moments.append(again or "not again, as it had ended")
    complete(go_on(place, job))
    same_run(whole, place.path / "run")
    return " and ".join(moments)


def _kill_at(child: Child, place: Workplace, job: Job, draw: random.Random, whole: Finished) -> str | None:
    """Kill at a moment of one of the three stages of a run; when that was, None if it had ended before."""
    run = place.path / "run"
    stages: dict[str, tuple[Callable[[], bool], float]] = {
        "start": (lambda: True, whole.began),
        "training": ((run / "config.yaml").exists, whole.trained - whole.began),
        "end": (lambda: epochs_recorded(run) == job.lines, whole.cpu - whole.trained),
    }
    (stage,) = draw.choices(list(SHARES), list(SHARES.values()))
    reached, seconds = stages[stage]
    part, jitter = draw.random(), draw.uniform(0, JITTER)
    if child.wait_until(reached):
        moment = child.cpu + part * seconds
        child.wait_until(lambda: child.cpu >= moment)
        time.sleep(jitter)
        child.send(signal.SIGKILL)
    return _where(place, job) if child.finish().code == -signal.SIGKILL else None


def _where(place: Workplace, job: Job) -> str:
    run = place.path / "run"
    if not (run / "config.yaml").is_file():
        return "before it began"
    if (run / "summary.json").is_file():
        return "in the report"
    done = epochs_recorded(run)
    return "in the test" if done == job.lines else f"after {done} of {job.lines} epochs"
