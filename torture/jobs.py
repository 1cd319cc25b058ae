"""The small runs that faults are done to: fine-tuning, continual learning, adaptation."""

import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from tlcl.tracking.checkpoint import LAST, PREVIOUS
from tlcl.tracking.records import read_lines
from torture.case import Broken
from torture.workplace import Finished, Workplace

SMALL = (
    "model=small_cnn", "model.weights=none", "logger=none", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.progress=false", "data.val_size=40", "data.batch_size=32", "run_dir=run",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A run of some seconds.

    Attributes:
        what: the run in words.
        lines: how many epochs it records in all.
    """

    name: str
    what: str
    lines: int
    arguments: tuple[str, ...]

    def whole(self, place: Workplace) -> tuple[Path, Finished]:
        """The run that nothing interrupted."""

        def make(own: Workplace) -> Finished:
            child = own.start("tlcl.train", *self.arguments)
            child.wait_until((own.path / "run" / "config.yaml").exists)
            began = child.cpu
            child.wait_until(lambda: epochs_recorded(own.path / "run") == self.lines)
            trained = child.cpu
            return replace(complete(child.finish()), began=began, trained=trained)

        path, finished = place.shared.once(self.name, make)
        return path / "run", finished


def complete(finished: Finished) -> Finished:
    """That it ended well.

    Raises:
        Broken: it did not.
    """
    if finished.code != 0:
        raise Broken(f"exit code {finished.code}: {last_line(finished.err)}")
    return finished


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["(no output)"])[-1][:500]


def go_on(place: Workplace, job: Job, **options: object) -> Finished:
    """What the documentation says: +resume when the run began, else the same command again."""
    begun = (place.path / "run" / "config.yaml").is_file()
    arguments = ("+resume=run",) if begun else job.arguments
    return place.train(*arguments, **options)


def copied(place: Workplace, run: Path) -> Path:
    """A copy of a run directory, as this place's own."""
    return Path(shutil.copytree(run, place.path / "run"))


def half(place: Workplace, job: "Job") -> Path:
    """A run that was killed after about half of its epochs, with two checkpoints of the task it was in.

    One is shared, with its cache; never to be written.
    """

    def make(own: Workplace) -> Finished:
        child = own.start("tlcl.train", *job.arguments)
        child.wait_until(lambda: _halfway(own.path / "run", job))
        child.send(signal.SIGKILL)
        return child.finish()

    path, finished = place.shared.once(f"{job.name}-half", make)
    if finished.code != -signal.SIGKILL:
        raise Broken(f"it ended with exit code {finished.code} before it could be killed")
    return path


def _halfway(run: Path, job: "Job") -> bool:
    last, previous = (run / "checkpoints" / name for name in (LAST, PREVIOUS))
    return epochs_recorded(run) >= job.lines // 2 and last.exists() and previous.exists()


def epochs_recorded(run: Path) -> int:
    return len(read_lines(run / "metrics.jsonl"))


FINETUNE = Job(
    "fine-tuning", "fine-tuning, two blocks thawed on the way, frozen blocks computed once", 12,
    (*SMALL, "data.train_size=800", "data.crop_padding=0", "trainer.epochs=12", "optim.name=adamw",
     "optim.lr=0.001", "thaw=milestones", "+thaw.0=[head]", "+thaw.3=[layer3]", "+thaw.7=[layer2]"),
)  # fmt: skip


def _continual(method: str, what: str) -> Job:
    return Job(
        method, f"continual learning, five tasks, {what}", 15,
        (*SMALL, "+experiment=continual_digits", f"method={method}", "trainer.epochs=3"),
    )  # fmt: skip


ER = _continual("er", "experience replay from a buffer")
DER_PP = _continual("der_pp", "dark experience replay (DER++)")
LWF = _continual("lwf", "learning without forgetting, distilled from the network before")
DANN = Job(
    "dann", "adaptation by DANN, a discriminator trained beside the network", 5,
    (*SMALL, "+experiment=adapt_digits", "adaptation=dann", "data.train_size=200", "source.train_size=200",
     "source.val_size=40", "trainer.epochs=5", "trainer.select=last"),
)  # fmt: skip
JOBS = (FINETUNE, ER, DER_PP, LWF, DANN)
