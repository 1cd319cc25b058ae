"""What a run was trained and tested on: classes in order, and a digest of every image with its label and name.

A run that is resumed, and the runs of a sweep or comparison, must find the same again; what changed is named.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor

from tlcl.config.schema import Config, DataConfig
from tlcl.data.equal_images import digests_of
from tlcl.data.image_tensors import ImageTensors
from tlcl.errors import UserError, printable
from tlcl.system.files import atomic_write_text, one_at_a_time
from tlcl.system.text import plain
from tlcl.tracking.records import read_object

DATA, SHARED = "data.json", "data_sets.json"
SHARED_LOCK = f".{SHARED}.lock"
FILES = 20_000  # images up to which each is recorded by itself, so that a changed one can be named
GLANCE, NEAR, ALIKE = 4, 12, 0.9  # fields a side, steps of brightness by which sizes differ, share of images
LUMA = [0.299, 0.587, 0.114]  # of red, green and blue, as files of colours become grey ones
AT_ONCE = 2**25  # pixels
NAMED = 3  # files that a sentence names
ABOVE = 5  # folders between a run and the sweep or comparison that it is part of, at most

Parts = Mapping[str, ImageTensors]  # "training" -> images
Record = Mapping[str, Any]


def data_record(parts: Parts) -> dict[str, Any]:
    """What is written down of each part."""
    return {name: _record(data, tested=name.endswith("test")) for name, data in parts.items()}


def _record(data: ImageTensors, tested: bool) -> dict[str, Any]:
    """Of one part; of what is tested its `glances` too, by which runs are compared."""
    known = [one.hex() for one in digests_of(data)]
    numbered = (f"image {index}" for index in range(len(data)))
    names = [normalize("NFC", plain(name)) for name in data.names or numbered]
    files = [list(row) for row in zip(names, data.labels.tolist(), known, strict=True)]
    digest = hashlib.blake2b(json.dumps([data.classes, files]).encode(), digest_size=16)
    one: dict[str, Any] = {"classes": list(data.classes), "images": len(data), "digest": digest.hexdigest()}
    one["shape"] = list(data.images.shape[1:])
    if data.names and len(data) <= FILES:
        one["files"] = [[name, label, content[:16]] for name, label, content in files]
        if tested:
            one["glances"] = glances(data.images).hex()
    return one


def glances(images: Tensor) -> bytes:
    """What `GLANCE` x `GLANCE` fields of each image look like, much the same at any size that it is stored at.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        The fields' mean brightness, 0 to 255, `GLANCE`^2 bytes an image.
    """
    channels, height, width = images.shape[1:]
    grey = torch.tensor(LUMA if channels == 3 else [1 / channels] * channels)
    down, across = _fields(height), _fields(width)
    found = []
    for part in images.split(max(1, AT_ONCE // (channels * height * width))):
        found.append(torch.einsum("nchw,c,gh,fw->ngf", part.float(), grey, down, across))
    return bytes(torch.cat(found).round().clamp(0, 255).to(torch.uint8).flatten().tolist()) if found else b""


def _fields(size: int) -> Tensor:
    """(GLANCE, size): which share of a field each row of pixels is; those on an edge are parts of both."""
    edges = torch.arange(GLANCE + 1) * size / GLANCE
    ends = torch.minimum(edges[1:, None], torch.arange(1, size + 1))
    begins = torch.maximum(edges[:-1, None], torch.arange(size))
    shares: Tensor = (ends - begins).clamp_min(0) * GLANCE / size
    return shares


def seen_alike(one: str, other: str) -> bool:
    """Whether two `glances` of as many images, in hexadecimal, are of the same images, but for a few odd ones.

    Colour and grey copies of the same files, too. What cannot be read says nothing against it.
    """
    try:
        first, second = (np.frombuffer(bytes.fromhex(text), np.uint8).astype(int) for text in (one, other))
    except ValueError:
        return True
    if first.shape != second.shape or not first.size or first.size % GLANCE**2:
        return first.shape == second.shape
    near = (np.abs(first - second) <= NEAR).reshape(-1, GLANCE**2).all(1)
    return bool(near.mean() >= ALIKE)


def changes(before: Record, now: Record) -> str:
    """What is another in `now`, in words; empty where nothing is."""
    before = _held_out_with_the_rest({part: before[part] for part in now if part in before})
    now = _held_out_with_the_rest(now)
    said = []
    for part, new in now.items():
        old = before.get(part)
        if old is not None and old["digest"] != new["digest"]:
            said.append(f"of the {part} {_changes(old, new)}")
    return "; ".join(said)


def _held_out_with_the_rest(record: Record) -> Record:
    """Training and test images of one folder as one part: with one file more, others are held out."""
    joined: dict[str, Any] = {}
    for part, one in record.items():
        whole = f"{part.removesuffix('training').removesuffix('test')}images"
        other = joined.get(whole)
        if other is None:
            joined[whole] = one
            continue
        files = [*other.get("files", []), *one.get("files", [])]
        if "files" in one and "files" in other and len({name for name, *_ in files}) == len(files):
            images, digest = other["images"] + one["images"], other["digest"] + one["digest"]
            joined[whole] = {**one, "images": images, "digest": digest, "files": files}
        else:
            joined[f"{part.removesuffix('training').removesuffix('test')}test images"] = one
    return joined


def _changes(old: Record, new: Record) -> str:
    gone, fresh = _without(old["classes"], new["classes"]), _without(new["classes"], old["classes"])
    if gone or fresh:
        words = [f"the class {_names(gone)} is gone"] if gone else []
        return " and ".join([*words, *([f"the class {_names(fresh)} is new"] if fresh else [])])
    if old["classes"] != new["classes"]:
        return f"the classes are in the order {_names(new['classes'])}, and were in {_names(old['classes'])}"
    if "files" not in old or "files" not in new:
        if old["images"] != new["images"]:
            return f"there are {new['images']:,}, and were {old['images']:,}"
        return "some are others or have other labels"
    return _changed_files(old, new)


def _changed_files(old: Record, new: Record) -> str:
    before, now = ({name: (label, digest) for name, label, digest in one["files"]} for one in (old, new))
    added, removed = _without(now, before), _without(before, now)
    where = {before[name][1]: name for name in removed}
    moved = {name: where[now[name][1]] for name in added if now[name][1] in where}
    relabelled = [name for name, was in moved.items() if now[name][0] != before[was][0]]
    renamed = [name for name in moved if name not in relabelled]
    replaced = [name for name in now if name in before and now[name][1] != before[name][1]]
    kinds = [
        ("has another class now", relabelled),
        ("has another name now", renamed),
        ("is new", _without(added, moved)),
        ("is gone", _without(removed, moved.values())),
        ("is another image now", replaced),
    ]
    return " and ".join(f"{_names(names)} {what}" for what, names in kinds if names) or "others are held out"


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(printable(repr(name)) for name in names[:NAMED])
    return shown + (f" (and {len(names) - NAMED:,} more)" if len(names) > NAMED else "")


def recorded_data(run_dir: Path) -> Record | None:
    """What the run in `run_dir` began on; None for a run from before it was written down."""
    return read_object(run_dir / DATA) or None


def refuse_changed(run_dir: Path, now: Record) -> None:
    """That the data are what the run in `run_dir` began on.

    Raises:
        UserError: they are not; the sentence names what is another.
    """
    before = recorded_data(run_dir)
    different = changes(before, now) if before else ""
    if different:
        raise UserError(
            f"{run_dir} began on other data: {different}; undo that, or start anew in another run_dir"
        )


def data_set(config: Config) -> str:
    """The keys that say which data a run loads, however it splits and shows them."""
    shown = {item.name for item in fields(DataConfig)} - {"source"}
    groups = {"data": config.data, "source": config.source}
    keys = {
        group: {key: value for key, value in asdict(data).items() if key not in shown}
        for group, data in groups.items()
        if data is not None
    }
    return json.dumps(keys, sort_keys=True)


def share_data(root: Path) -> None:
    """From now on the runs below `root` are compared, so that those on one data set must find the same one."""
    if not (root / SHARED).exists():
        atomic_write_text(root / SHARED, "{}\n")


def refuse_different(run_dir: Path, key: str, now: Record) -> None:
    """That the data are what the other runs of the same sweep or comparison began on.

    Args:
        key: of the data set, see `data_set`.

    Raises:
        UserError: they are not.
    """
    root = _shared_root(run_dir)
    if root is not None:
        _compare(root, read_object(root / SHARED).get(key, {}), now)


def share_record(run_dir: Path, key: str, now: Record) -> None:
    """As `refuse_different`; the first run on a data set says what the others must find.

    Raises:
        UserError: the data are others.
    """
    root = _shared_root(run_dir)
    if root is None:
        return
    with one_at_a_time(root / SHARED_LOCK, lambda: None):
        known = read_object(root / SHARED)
        _compare(root, known.get(key, {}), now)
        if key not in known:
            atomic_write_text(root / SHARED, json.dumps({**known, key: now}) + "\n")


def _shared_root(run_dir: Path) -> Path | None:
    """Of the sweep or comparison that the run is part of; None where it is in none."""
    return next((folder for folder in [*run_dir.resolve().parents][:ABOVE] if (folder / SHARED).is_file()), None)


def _compare(root: Path, known: Record, now: Record) -> None:
    different = changes(known, now)
    if different:
        raise UserError(
            f"the other runs in {root} began on other data: {different}; undo that, or start all anew in "
            "another directory"
        )
