"""What is in the files of a folder or archive, as digests; a second look reads only what has changed since.

Which files there were, their stamps and their digests are kept in the cache, a file for each folder or archive. A
stamp that is as young as the look itself is not trusted the next time: within one tick of the clock, a file may
change and keep its stamp.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from tlcl.data.images.archives import by_name
from tlcl.data.images.files import Content, Stamp, read_files, stamp_of
from tlcl.data.images.walk import files_below, in_order
from tlcl.system.files import atomic_write_text

log = logging.getLogger(__name__)
YOUNG = 2.0  # seconds; the coarsest clock of a file system that is still around
Digests = dict[str, str]  # name -> what `digest_of` says
ARCHIVE = ""  # the name under which an archive's own stamp is kept


def digest_of(content: Content) -> str:
    """32 hexadecimal digits of a file's bytes, or `!` and why it was not read."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"!{content}"


def digests_below(path: Path, cache: Path) -> Digests:
    """Of every file in a folder or archive but system litter, in the order of their names, folder by folder.

    Raises:
        UserError: `path` is neither a folder that can be listed nor a readable archive.
    """
    kept = cache / "images" / "contents" / f"{_key(path)}.json"
    before, looked = _kept(kept), time.time()
    folder = path.is_dir()
    names = files_below(path) if folder else [ARCHIVE]
    stamps = {name: stamp_of(f"{path}/{name}" if name else str(path)) for name in names}
    changed = [name for name, stamp in stamps.items() if stamp is None or before.stamps.get(name) != stamp]
    if not changed and (folder or before.digests):
        return _of(before.digests, names) if folder else before.digests
    reading = tqdm(
        read_files(path, changed if folder else None), f"read {path.name}", len(changed) if folder else None,
        unit=" files", delay=1.0, leave=False, disable=None,
    )  # fmt: skip
    known = {name: before.digests[name] for name in stamps.keys() - set(changed)} if folder else {}
    known |= {name: digest_of(content) for name, content in reading}
    digests = _of(known, in_order(known))
    settled = {
        name: one
        for name, one in stamps.items()
        if one is not None and one.newest < looked - YOUNG and _lasting(name, digests)
    }
    _keep(kept, Kept(settled, digests))
    return digests


def _lasting(name: str, digests: Digests) -> bool:
    """Whether what was found is the file's own, and not a failure to read it, which may be over the next time."""
    return name == ARCHIVE or by_name(name) is not None or not digests.get(name, "!").startswith("!")


def _of(digests: Mapping[str, str], names: list[str]) -> Digests:
    return {name: digests[name] for name in names}


class Kept(NamedTuple):
    """What the last look found: stamps that can be trusted, by name, and all digests."""

    stamps: Mapping[str, Stamp]
    digests: Digests


def _key(path: Path) -> str:
    return hashlib.blake2b(str(path.resolve()).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _kept(file: Path) -> Kept:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        held = json.loads(file.read_bytes())
        stamps = {name: Stamp(*stamp) for name, stamp in held["stamps"].items()}
        digests = {str(name): str(digest) for name, digest in held["digests"].items()}
        if all(name in digests for name in stamps if name != ARCHIVE):
            return Kept(stamps, digests)
    return Kept({}, {})


def _keep(file: Path, found: Kept) -> None:
    try:
        atomic_write_text(file, json.dumps({"stamps": found.stamps, "digests": found.digests}))
    except OSError as error:
        log.warning("warning: what is in the files is not kept for the next start: %s", error)
