"""Files of a run or of the cache that were cut short, changed or removed."""

import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tlcl.tracking.checkpoint import BEST, LAST, PREVIOUS, read_checkpoint
from torture.case import Broken, Case
from torture.expect import sentence, warned
from torture.jobs import ER, FINETUNE, Job, complete, copied, half
from torture.pictures import TRAIN, plain_folder
from torture.same import same_run
from torture.workplace import Workplace

FAMILY = "Damaged and missing files"
FALLS_BACK = "a warning; the run resumes from the checkpoint before, to the same end"
Damage = Callable[[Path], None]
BETWEEN = "between_tasks.ckpt"
FLIPS = 100

IN_FILES = Job(
    "in-files", "fine-tuning with frozen outputs kept in files", 12, (*FINETUNE.arguments, "data.cache_prefix=disk")
)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Damage] = {"truncated": truncate, "bit-flipped": flip, "empty": empty, "missing": Path.unlink}


def cases() -> Iterator[Case]:
    """Every file that a resumed run reads."""
    for damage in ("truncated", "bit-flipped", "empty"):
        yield falls_back_case(FINETUNE, damage)
    yield falls_back_case(ER, "truncated")
    yield Case(
        FAMILY, "both checkpoints damaged", "fine-tuning, killed; last.ckpt bit-flipped, previous.ckpt truncated",
        "exit code 2 and one sentence; nothing is changed", _both,
    )  # fmt: skip
    yield Case(
        FAMILY, "both checkpoints within a task damaged", "er, killed; last.ckpt and previous.ckpt truncated",
        "a warning; the run resumes from the end of the task before, to the same end", _both_of_a_task,
    )  # fmt: skip
    for damage in ("bit-flipped", "missing"):
        yield Case(
            FAMILY, f"best.ckpt {damage}", "fine-tuning, killed",
            "written anew when the last checkpoint has the best epoch's weights, else exit code 2 and one sentence",
            partial(_best, damage=DAMAGES[damage]),
        )  # fmt: skip
    yield Case(
        FAMILY, f"{FLIPS} bits flipped", "last.ckpt read with one bit flipped, at 100 random places",
        "each is noticed, or changes nothing", _flips, alone=False,
    )  # fmt: skip
    yield Case(
        FAMILY, "metrics.jsonl cut in its last line", "fine-tuning, killed", "the same end",
        lambda place: _metrics(place, None),
    )  # fmt: skip
    yield Case(
        FAMILY, "metrics.jsonl damaged", "fine-tuning, killed; a byte of the second line changed",
        "exit code 2 and one sentence that names the line; nothing is changed",
        lambda place: _metrics(place, b"\xff"),
    )  # fmt: skip
    yield Case(
        FAMILY, "metrics.jsonl missing", "fine-tuning, killed", "exit code 2 and one sentence that names the file",
        lambda place: _refused(place, "metrics.jsonl", Path.unlink, "metrics.jsonl"),
    )  # fmt: skip
    yield Case(
        FAMILY, "config.yaml truncated", "fine-tuning, killed", "exit code 2 and one sentence that names the file",
        lambda place: _refused(place, "config.yaml", truncate, "config.yaml"),
    )  # fmt: skip
    yield Case(
        FAMILY, "summary.json truncated", "a finished run", "exit code 2 and one sentence that names the file; "
        "without it, +resume writes it again", _summary,
    )  # fmt: skip
    yield Case(
        FAMILY, "model.safetensors truncated", "tlcl predict with a finished run",
        "exit code 2 and one sentence that names the file", _model,
    )  # fmt: skip
    for damage in ("missing", "truncated"):
        yield Case(
            FAMILY, f"cache {damage}: frozen outputs", f"{IN_FILES.what}, killed; the files {damage}",
            "computed again; the same end", partial(_cache, damage=DAMAGES[damage]),
        )  # fmt: skip
        yield Case(
            FAMILY, f"cache {damage}: decoded images", f"an image folder, decoded before; the file {damage}",
            "decoded again; the same end", partial(_images, damage=DAMAGES[damage]),
        )  # fmt: skip


def falls_back_case(job: Job, damage: str) -> Case:
    return Case(
        FAMILY, f"last.ckpt {damage}: {job.name}", f"{job.what}; killed, then the file {damage}", FALLS_BACK,
        lambda place: _falls_back(place, job, [LAST], DAMAGES[damage]),
    )  # fmt: skip


def _falls_back(place: Workplace, job: Job, names: list[str], damage: Damage) -> str:
    whole, _ = job.whole(place)
    run = copied(place, half(place, job) / "run")
    for name in names:
        damage(run / "checkpoints" / name)
    said = warned(complete(place.train("+resume=run")), LAST, "damaged", "the run resumes from")
    same_run(whole, run)
    return f"{said}; the same end"


def _both(place: Workplace) -> str:
    run = copied(place, half(place, FINETUNE) / "run")
    flip(run / "checkpoints" / LAST)
    truncate(run / "checkpoints" / PREVIOUS)
    return _unchanged(place, run, "no checkpoint can be read", "another run_dir")


def _both_of_a_task(place: Workplace) -> str:
    if not (half(place, ER) / "run" / "checkpoints" / BETWEEN).is_file():
        raise Broken("it was killed before the first task ended")
    return _falls_back(place, ER, [LAST, PREVIOUS], truncate)


def _unchanged(place: Workplace, run: Path, *words: str) -> str:
    """That `+resume` refuses, and changes nothing."""
    before = _contents(run)
    said = sentence(place.train("+resume=run"), 2, *words)
    if before != _contents(run):
        raise Broken("files were changed")
    return said


def _contents(run: Path) -> dict[Path, bytes]:
    """Of all files but what the kill left half written, which goes."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".partial"}


def _best(place: Workplace, damage: Damage) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, half(place, FINETUNE) / "run")
    damage(run / "checkpoints" / BEST)
    last = read_checkpoint(run / "checkpoints" / LAST)
    if last["callbacks"]["BestWeights"]["epoch"] != last["epoch"]:
        return _unchanged(place, run, BEST, "best epoch")
    said = warned(complete(place.train("+resume=run")), BEST, "written anew")
    same_run(whole, run)
    return f"{said}; the same end"


def _flips(place: Workplace) -> str:
    run = half(place, FINETUNE) / "run"
    content, path, draw = (run / "checkpoints" / LAST).read_bytes(), place.path / LAST, random.Random(0)
    noticed = 0
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except ValueError:
            noticed += 1
            continue
        same_run(run / "checkpoints", _beside(place, run))
    return f"{noticed} were noticed; {FLIPS - noticed} lie between the records and change nothing"


def _beside(place: Workplace, run: Path) -> Path:
    """The other checkpoints beside the damaged one."""
    folder = place.path / "checkpoints"
    shutil.copytree(run / "checkpoints", folder, dirs_exist_ok=True)
    shutil.copy(place.path / LAST, folder / LAST)
    return folder


def _metrics(place: Workplace, byte: bytes | None) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, half(place, FINETUNE) / "run")
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if byte is not None:
        path.write_bytes(b"".join([lines[0], byte + lines[1][1:], *lines[2:]]))
        return _unchanged(place, run, "line 2", "metrics.jsonl")
    path.write_bytes(b"".join([*lines, b'{"epoch": 99, "st']))
    complete(place.train("+resume=run"))
    same_run(whole, run)
    return "the same end"


def _refused(place: Workplace, name: str, damage: Damage, *words: str) -> str:
    run = copied(place, half(place, FINETUNE) / "run")
    damage(run / name)
    return sentence(place.train("+resume=run"), 2, *words)


def _summary(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, whole)
    truncate(run / "summary.json")
    said = _unchanged(place, run, "summary.json")
    (run / "summary.json").unlink()
    complete(place.train("+resume=run"))
    same_run(whole, run)
    return f"{said}; without it, the same end"


def _model(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, whole)
    truncate(run / "model.safetensors")
    plain_folder(place.path / "images")
    return sentence(place.run("tlcl.commands.predict", "run", "images"), 2, "model.safetensors")


def _cache(place: Workplace, damage: Damage) -> str:
    whole, _ = IN_FILES.whole(place)
    before = half(place, IN_FILES)
    run = copied(place, before / "run")
    shutil.copytree(before / "cache", place.path / "cache")
    files = list((place.path / "cache" / "prefix").glob("*.bin"))
    for file in files:
        damage(file)
    complete(place.train("+resume=run"))
    same_run(whole, run)
    return f"{len(files)} files computed again; the same end"


def _images(place: Workplace, damage: Damage) -> str:
    plain_folder(place.path / "images")
    complete(place.train(*TRAIN))
    (cached,) = (place.path / "cache" / "images").iterdir()
    damage(cached)
    finished = complete(place.train(*TRAIN, "run_dir=again"))
    said = "" if damage is Path.unlink else f"{warned(finished, 'damaged', 'decoded again')}; "
    same_run(place.path / "run", place.path / "again")
    return f"{said}the same end"
