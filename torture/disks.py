"""A disk that is full, and folders that cannot be written."""

import os
import resource
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from torture.case import Broken, Case, Skipped
from torture.expect import nothing_lost, sentence, warned
from torture.jobs import ER, FINETUNE, Job, complete, copied, half
from torture.same import same_run
from torture.workplace import Finished, Workplace, python

FAMILY = "Disk"
FULL = "exit code 1 and one sentence; what was written stays whole; with room, it is resumed to the same end"
REFUSED = "exit code 2 and one sentence that names the folder; nothing is changed"
# Of the size of the whole run: too small for the config, the first checkpoint, the third, the model.
SHARES = (0.001, 0.2, 0.7, 0.9)
ROOM_KIB = 64 << 10


def cases() -> Iterator[Case]:
    """Full disks of several sizes, limits, and folders that are read-only."""
    for job in (FINETUNE, ER):
        for share in SHARES if job is FINETUNE else SHARES[1:3]:
            yield full_case(job, share)
    yield Case(
        FAMILY, "disk full in the cache", "fine-tuning with frozen outputs kept in files, the cache on a full disk",
        "a warning; the run ends with the same weights", _cache_full,
    )  # fmt: skip
    yield Case(
        FAMILY, "limit on the size of a file", "fine-tuning under `ulimit -f`, 200 kB", FULL,
        lambda place: _limited(place, FINETUNE),
    )  # fmt: skip
    yield Case(
        FAMILY, "no room for the report", "a finished run whose report is drawn anew under `ulimit -f`, 60 kB",
        "exit code 1 and one sentence; with room, +resume draws it", _no_room_for_the_report,
    )  # fmt: skip
    yield Case(
        FAMILY, "run directory below a file", "fine-tuning with run_dir=notes.txt/run", REFUSED, _below_a_file
    )
    yield Case(
        FAMILY, "read-only folder for a new run", "fine-tuning in a folder that may not be written", REFUSED,
        _read_only_parent,
    )  # fmt: skip
    yield Case(
        FAMILY, "read-only run directory", "+resume of a killed run that may not be written",
        f"{REFUSED}; when it may be written again, the resumed run comes to the same end", _read_only_run,
    )  # fmt: skip
    yield Case(
        FAMILY, "read-only finished run", "tlcl predict with the model of a run that may not be written",
        "it predicts", _read_only_predict,
    )  # fmt: skip


def full_case(job: Job, share: float) -> Case:
    return Case(
        FAMILY, f"disk full: {job.name}, {share:.1%}",
        f"{job.what}, in a tmpfs of {share:.1%} of what the run takes", FULL,
        lambda place: _full(place, job, share),
    )  # fmt: skip


def _namespace(place: Workplace) -> list[str]:
    """A command that runs others where they may mount file systems that nobody else sees.

    Raises:
        Skipped: that is not allowed here.
    """
    prefix = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    (place.path / "probe").mkdir()
    try:
        probe = place.command(*prefix, "mount", "-t", "tmpfs", "tmpfs", "probe")
    except OSError as error:
        raise Skipped(f"no file system can be mounted here ({error})") from None
    if probe.code != 0:
        raise Skipped(f"no file system can be mounted here ({probe.err.strip()})")
    return prefix


def _shell(place: Workplace, *lines: str) -> None:
    done = place.command(*_namespace(place), "sh", "-euc", "\n".join(lines))
    if done.code != 0:
        raise Broken(f"the case's own commands failed: {done.err.strip()}")


def _noted(name: str, command: Sequence[str], folder: str = ".") -> str:
    """A line of shell that runs a command and notes how it ended."""
    run = f"(cd {folder}; {shlex.join(command)}) >{name}.out 2>{name}.err"
    return f"code=0; {run} || code=$?; echo $code >{name}.code"


def _read(place: Workplace, name: str) -> Finished:
    code, out, err = ((place.path / f"{name}.{part}").read_text() for part in ("code", "out", "err"))
    return Finished(int(code), out, err)


def _size_kib(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 10


def _full(place: Workplace, job: Job, share: float) -> str:
    whole, _ = job.whole(place)
    (place.path / "disk").mkdir()
    again = "begun=; if [ -f disk/run/config.yaml ]; then begun=1; fi"
    _shell(
        place,
        f"mount -t tmpfs -o size={max(4, int(share * _size_kib(whole)))}k tmpfs disk",
        _noted("full", python("tlcl.train", *job.arguments), "disk"),
        "mkdir left; cp -a disk/run left/ || true",
        f"mount -o remount,size={ROOM_KIB}k disk",
        again,
        f"if [ $begun ]; then {_noted('room', python('tlcl.train', '+resume=run'), 'disk')}",
        f"else {_noted('room', python('tlcl.train', *job.arguments), 'disk')}; fi",
        "cp -a disk/run .",
    )
    said = sentence(_read(place, "full"), 1, "No space left on device", "make room")
    nothing_lost(place.path / "left" / "run")
    complete(_read(place, "room"))
    same_run(whole, place.path / "run")
    return f"{said}; the same end"


def _cache_full(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    (place.path / "cache").mkdir()
    _shell(
        place,
        "mount -t tmpfs -o size=64k tmpfs cache",
        _noted("full", python("tlcl.train", *FINETUNE.arguments, "data.cache_prefix=disk")),
    )
    finished = complete(_read(place, "full"))
    said = warned(finished, "cannot be kept in a file", "No space left on device")
    if (whole / "model.safetensors").read_bytes() != (place.path / "run" / "model.safetensors").read_bytes():
        raise Broken("the weights differ")
    return f"{said}; the same weights"


def _file_limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _limited(place: Workplace, job: Job) -> str:
    whole, _ = job.whole(place)
    said = sentence(
        place.train(*job.arguments, before=lambda: _file_limit(200_000)), 1, "File too large", "+resume=run"
    )
    nothing_lost(place.path / "run")
    complete(place.train("+resume=run"))
    same_run(whole, place.path / "run")
    return f"{said}; the same end"


def _no_room_for_the_report(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, whole)
    (run / "report.html").unlink()
    said = sentence(
        place.train("+resume=run", before=lambda: _file_limit(60_000)), 1, "cannot be written", "File too large"
    )
    complete(place.train("+resume=run"))
    same_run(whole, run)
    return f"{said}; then the report is there"


def _below_a_file(place: Workplace) -> str:
    (place.path / "notes.txt").write_text("mine")
    said = sentence(place.train(*FINETUNE.arguments, "run_dir=notes.txt/run"), 2, "notes.txt/run", "run_dir")
    if (place.path / "notes.txt").read_text() != "mine":
        raise Broken("the file was changed")
    return said


def _under_read_only(place: Workplace, folder: str) -> list[str]:
    """A command that runs others while `folder` may not be written; permissions do not bind root, mounts do."""
    if os.geteuid() != 0:
        for path in [place.path / folder, *(place.path / folder).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        return []
    mounts = f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}"
    return [*_namespace(place), "sh", "-euc", f'{mounts}; exec "$@"', "sh"]


def _writable(place: Workplace, folder: str) -> None:
    for path in [place.path / folder, *(place.path / folder).rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _read_only_parent(place: Workplace) -> str:
    (place.path / "mine").mkdir()
    under = _under_read_only(place, "mine")
    said = sentence(place.train(*FINETUNE.arguments, "run_dir=mine/run", under=under), 2, "mine/run", "run_dir")
    _writable(place, "mine")
    if list((place.path / "mine").iterdir()):
        raise Broken("something was written")
    return said


def _read_only_run(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    run = copied(place, half(place, FINETUNE) / "run")
    said = sentence(place.train("+resume=run", under=_under_read_only(place, "run")), 2, "run", "cannot be written")
    _writable(place, "run")
    complete(place.train("+resume=run"))
    same_run(whole, run)
    return f"{said}; then the same end"


def _read_only_predict(place: Workplace) -> str:
    from torture.pictures import plain_folder

    whole, _ = FINETUNE.whole(place)
    copied(place, whole)
    plain_folder(place.path / "images")
    under = _under_read_only(place, "run")
    finished = complete(place.run("tlcl.commands.predict", "run", "images", under=under))
    _writable(place, "run")
    rows = len(finished.out.splitlines()) - 1
    if rows != 24:
        raise Broken(f"{rows} predictions of 24")
    return "24 predictions"
