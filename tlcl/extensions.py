"""A user's own Python files: run only when he has named them himself, and recorded with their hash.

`extend=[my_method.py]` on the command line runs the file, which registers what it adds (see `tlcl.extend`). A copy
is kept under its hash in the user's own folder, so that a run, whose `config.yaml` names PATH#sha256=HASH, can be
resumed and used to predict after the file has changed. A config alone never brings code to run: a hash that was not
named on this account is refused, until `tlcl allow FILE` allows it.
"""

import argparse
import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from tlcl.errors import UserError, run_cli
from tlcl.system.command import called
from tlcl.system.files import atomic_open
from tlcl.system.paths import expanded

log = logging.getLogger(__name__)
MARK = "#sha256="
LOADED: dict[str, ModuleType] = {}  # hash -> the file as it ran in this process
RUNNING: list[str] = []  # the hash of the file that runs now


def allowed_folder() -> Path:
    """Where copies of the files that the user has named are kept.

    Not below `cache_dir`, which a foreign run's config could set.
    """
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "tlcl" / "extensions"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"extend={path} cannot be read: {error.strerror or error}") from None


def _run(path: Path, content: bytes) -> None:
    """Run the file as a module of its own; what it registers is there afterwards."""
    digest = hashlib.sha256(content).hexdigest()
    module = ModuleType(f"tlcl_extension_{digest[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look their types up
    RUNNING.append(digest)
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else inside[-1] if inside else "?"
        raise UserError(f"extend={path}, line {line}: {type(error).__name__}: {error}") from None
    finally:
        RUNNING.pop()
    LOADED[digest] = module


def allow(path: Path) -> str:
    """Run a file that the user has named, and remember it; returns PATH#sha256=HASH.

    Raises:
        UserError: it cannot be read or run, or adds something that is there already.
    """
    path = expanded(str(path), "extend").resolve()
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest not in LOADED:
        _run(path, content)
    kept = allowed_folder() / f"{digest}.py"
    if not kept.is_file():
        try:
            with atomic_open(kept) as file:
                file.write(content)
        except OSError as error:
            log.warning("warning: %s cannot be kept in %s (%s)", path.name, kept.parent, error.strerror or error)
    return f"{path}{MARK}{digest}"


def run_extensions(items: Iterable[str]) -> list[str]:
    """Have the files of `extend` run, each with its hash; what has run in this process is not run again.

    Args:
        items: PATH, or PATH#sha256=HASH as a run's config names it.

    Returns:
        The items, all with their hash.

    Raises:
        UserError: a file that cannot be read, or that the user has never named on a command line.
    """
    with_hash = []
    for item in items:
        name, mark, digest = item.partition(MARK)
        path = expanded(name, "extend").resolve()
        if not mark:
            digest = hashlib.sha256(_read(path)).hexdigest()
        kept = allowed_folder() / f"{digest}.py"
        if digest not in LOADED:
            content = kept.read_bytes() if kept.is_file() else b""
            if hashlib.sha256(content).hexdigest() != digest:
                raise UserError(
                    f"extend={path} is code that you have not named on a command line (sha256 {digest[:12]}); a "
                    "run keeps a copy in its folder extensions: read it, then allow it by tlcl allow FILE"
                )
            _run(path, content)
        with_hash.append(f"{path}{MARK}{digest}")
    return with_hash


def allow_named(arguments: Sequence[str]) -> None:
    """Run and remember the files that a Hydra command line names by `extend=[FILE,...]`, before Hydra composes.

    Raises:
        UserError: as `allow`; or not a list of files.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in arguments:
        if not argument.startswith("extend="):
            continue
        try:
            files = OverridesParser.create().parse_override(argument).value()
        except HydraException:
            files = None
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise UserError(f"{argument} must be a list of files, e.g. 'extend=[my_method.py]'")
        for file in files:
            allow(Path(file))


def copies(items: Iterable[str]) -> dict[str, bytes]:
    """File name -> content of each item that `run_extensions` gave, for the record; equal names get a number."""
    found: dict[str, bytes] = {}
    for item in items:
        name, _, digest = item.partition(MARK)
        path = Path(name)
        kept = allowed_folder() / f"{digest}.py"
        unique = path.name if path.name not in found else f"{len(found)}_{path.name}"
        found[unique] = kept.read_bytes() if kept.is_file() else _read(path)
    return found


def _program() -> None:
    parser = argparse.ArgumentParser(
        prog=called(),
        description="Allow Python files of someone else's run, after you have read them: they are code that runs "
        "when that run is resumed or predicts.",
        epilog="example: %(prog)s RUN_DIR/extensions/my_method.py",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    for file in parser.parse_args().files:
        print(f"allowed: {allow(file)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
