"""Ctrl-C and SIGTERM: what is finished is saved, one sentence says how to resume, and the end is the same."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from torture.case import Broken, Case
from torture.expect import nothing_lost, sentence
from torture.jobs import DANN, ER, FINETUNE, SMALL, Job, complete, epochs_recorded, go_on
from torture.same import same_run
from torture.workplace import Child, Finished, Workplace

FAMILY = "Ctrl-C and SIGTERM"
PROMISED = "exit code {code} and one sentence that says how to resume; the same end"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
PRETRAINED = Job(
    "pretrained", "fine-tuning from letters, which are pretrained on first", 1,
    (*SMALL, "model.weights=letters", "data.train_size=100", "trainer.epochs=1"),
)  # fmt: skip
SWEEP = (
    "-m", *[item for item in SMALL if not item.startswith("run_dir=")], "data.train_size=100", "trainer.epochs=2",
    "seed=0,1,2", "hydra.sweep.dir=sweep",
)  # fmt: skip
Moment = Callable[[Child, Path], bool]


def _importing(child: Child, run: Path) -> bool:
    return child.cpu > 1.2


def _loading(child: Child, run: Path) -> bool:
    return (run / ".lock").exists()


def _training(child: Child, run: Path) -> bool:
    return epochs_recorded(run) >= 3


def _reporting(child: Child, run: Path) -> bool:
    return (run / "summary.json").exists()


def cases() -> Iterator[Case]:
    """Each signal in training, and either at other moments."""
    for job in (FINETUNE, ER, DANN):
        for which in CODES:
            yield stop_case(job, which, "in training", _training)
    yield stop_case(FINETUNE, signal.SIGTERM, "while the data load", _loading)
    yield stop_case(FINETUNE, signal.SIGINT, "while the report is written", _reporting)
    yield stop_case(ER, signal.SIGTERM, "while the report is written", _reporting)
    for which in CODES:
        promised = f"exit code {CODES[which]} and one sentence; nothing began"
        yield Case(
            FAMILY, f"{which.name} while packages are imported", "fine-tuning, in its first second", promised,
            partial(_before_anything, which=which),
        )  # fmt: skip
    yield Case(
        FAMILY, "Ctrl-C twice", "fine-tuning; the second while the first is dealt with", PROMISED.format(code=130),
        lambda place: _stop(place, FINETUNE, signal.SIGINT, _training, twice=True),
    )  # fmt: skip
    yield Case(
        FAMILY, "SIGTERM in the pretraining", PRETRAINED.what,
        "exit code 143; the same command resumes the pretraining and ends the same", _in_pretraining,
    )  # fmt: skip
    yield Case(
        FAMILY, "SIGTERM in a sweep", "the second of three jobs runs",
        "exit code 143 and one sentence; +resume runs the rest of the sweep", _in_a_sweep,
    )  # fmt: skip


def stop_case(job: Job, which: signal.Signals, when: str, moment: Moment) -> Case:
    return Case(
        FAMILY, f"{which.name} {when}: {job.name}", job.what, PROMISED.format(code=CODES[which]),
        lambda place: _stop(place, job, which, moment),
    )  # fmt: skip


def _signalled(
    place: Workplace, arguments: tuple[str, ...], which: signal.Signals, moment: Moment, *, twice: bool = False
) -> Finished:
    child, run = place.start("tlcl.train", *arguments), place.path / "run"
    if not child.wait_until(lambda: moment(child, run)):
        raise Broken("it ended before the moment came")
    child.send(which)
    if not twice:
        return child.finish()
    seen = child.cpu
    child.wait_until(lambda: child.cpu > seen + 0.1)
    child.send(which)
    finished = child.finish()
    # Met on its way out by the second one, Python ends by the signal itself, which a shell calls 130 too.
    return replace(finished, code=130) if finished.code == -which else finished


def _stop(
    place: Workplace, job: Job, which: signal.Signals, moment: Moment, *, twice: bool = False
) -> str:
    whole, _ = job.whole(place)
    run = place.path / "run"
    stopped = _signalled(place, job.arguments, which, moment, twice=twice)
    begun = (run / "config.yaml").is_file()
    said = sentence(stopped, CODES[which], "resume it with +resume=run" if begun else "give the same command again")
    nothing_lost(run)
    complete(go_on(place, job))
    same_run(whole, run)
    return f"{said}; the same end"


def _before_anything(place: Workplace, which: signal.Signals) -> str:
    said = sentence(_signalled(place, FINETUNE.arguments, which, _importing), CODES[which])
    if (place.path / "run").exists():
        raise Broken("a run directory was left")
    return said


def _in_pretraining(place: Workplace) -> str:
    whole, _ = PRETRAINED.whole(place)
    folder = place.path / "cache" / "pretrained"

    def two_epochs(child: Child, run: Path) -> bool:
        return any(epochs_recorded(path) >= 2 for path in folder.glob("small_cnn-letters-*"))

    said = sentence(
        _signalled(place, PRETRAINED.arguments, signal.SIGTERM, two_epochs), 143, "give the same command again"
    )
    complete(go_on(place, PRETRAINED))
    same_run(whole, place.path / "run")
    (ours,) = folder.glob("small_cnn-letters-*[!k]")
    same_run(whole.parent / "cache" / "pretrained" / ours.name, ours)
    return f"{said}; the same end, of both runs"


def _in_a_sweep(place: Workplace) -> str:
    def whole_sweep(own: Workplace) -> Finished:
        return complete(own.train(*SWEEP))

    whole, _ = place.shared.once("sweep", whole_sweep)

    def second(child: Child, run: Path) -> bool:
        return (place.path / "sweep" / "1" / "config.yaml").exists()

    said = sentence(_signalled(place, SWEEP, signal.SIGTERM, second), 143, "+resume=sweep")
    complete(place.train("+resume=sweep"))
    for number in range(3):
        same_run(whole / "sweep" / str(number), place.path / "sweep" / str(number))
    return f"{said}; the same end of all three jobs"
