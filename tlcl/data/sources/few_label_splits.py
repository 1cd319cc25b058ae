"""Ready-made splits for adaptation with few labelled target images: `SOURCE_to_TARGET_repR.npz` in one folder."""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray

from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.errors import UserError

FILE = re.compile(r"(?P<source>[a-z0-9]+)_to_(?P<target>[a-z0-9]+)_rep(?P<repetition>\d+)\.npz")
KEY = "source_images_"
PARTS = ("source", "target", "test")
MOST_CLASSES = 10_000


@dataclass
class FewLabelSplitsConfig(DataConfig):
    root: str = "???"
    shots: list[Annotated[int, Ge(1)]] | None = None
    repetitions: list[Annotated[int, Ge(0)]] | None = None


@register("data", "few_label_splits", FewLabelSplitsConfig)
def not_one(config: FewLabelSplitsConfig, cache_dir: str) -> Source:
    """What is asked for where one data set is wanted.

    Raises:
        UserError: always.
    """
    raise UserError("data=few_label_splits is many data sets; they are for +experiment=adapt_ccsa")


class Place(NamedTuple):
    """One split: a repetition of a direction with `shots` labelled target images a class."""

    source: str
    target: str
    repetition: int
    shots: int
    path: Path


@dataclass(frozen=True)
class FewLabelSplit:
    """The labelled source, the labelled target images, and the target's test images, with the same classes."""

    source: ImageTensors
    target: ImageTensors
    test: ImageTensors

    def seen(self) -> torch.Tensor:
        """Bool (M,): which test images are also, pixel for pixel, among the labelled target images."""
        known = {image.numpy().tobytes() for image in self.target.images}
        return torch.tensor([image.numpy().tobytes() in known for image in self.test.images])


def _written_by_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX or zipfile.is_zipfile(path)


def _open(path: Path) -> Any:
    try:
        file = np.load(path, allow_pickle=False) if _written_by_numpy(path) else None
        if file is None:  # of which numpy would say that it holds pickled data
            raise ValueError("it is none, or not whole")
        if isinstance(file, np.ndarray):
            raise ValueError("it holds a single array")
        return file
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an npz file: {str(error).partition(chr(10))[0]}") from None


def _wanted(found: set[int], chosen: list[int] | None, key: str, root: Path) -> set[int]:
    """Those of `found` that are `chosen`, or all."""
    if chosen is None:
        return found
    lacking = sorted(set(chosen) - found)
    if lacking or not chosen:
        raise UserError(
            f"data.{key}={chosen}: {root} has {', '.join(map(str, sorted(found)))}"
            + (f", not {lacking[0]}" if lacking else "; name at least one")
        )
    return set(chosen)


def find_splits(config: FewLabelSplitsConfig) -> list[Place]:
    """Every split in `config.root` that the config wants, ordered by direction, shots and repetition.

    Raises:
        UserError: no such folder, no split in it, or none of those that the config names.
    """
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root={root} is no folder; give the one with the files SOURCE_to_TARGET_repR.npz")
    places = []
    for path in sorted(root.iterdir()):
        match = FILE.fullmatch(path.name)
        if match is None:
            continue
        with _open(path) as file:
            shots = [int(key.removeprefix(KEY)) for key in file.files if re.fullmatch(rf"{KEY}\d+", key)]
        places += [
            Place(match["source"], match["target"], int(match["repetition"]), number, path) for number in shots
        ]
    if not places:
        raise UserError(f"data.root={root} holds no splits; they are files named like mnist_to_usps_rep0.npz")
    shots_wanted = _wanted({place.shots for place in places}, config.shots, "shots", root)
    repetitions = _wanted({place.repetition for place in places}, config.repetitions, "repetitions", root)
    chosen = [place for place in places if place.shots in shots_wanted and place.repetition in repetitions]
    return sorted(chosen, key=lambda place: (place.source, place.target, place.shots, place.repetition))


def _array(file: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(file[key])
    except (OSError, EOFError, MemoryError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{key} in {path} cannot be read: {str(error).partition(chr(10))[0]}") from None


def _images(array: NDArray[Any], name: str) -> torch.Tensor:
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise UserError(f"{name} must be uint8 (N, H, W) or (N, C, H, W), not {array.dtype} {array.shape}")
    return torch.from_numpy(array if array.ndim == 4 else array[:, None])


def load_split(place: Place) -> FewLabelSplit:
    """The images and labels of one split.

    Raises:
        UserError: an array that is missing or not of its type, or target classes that the source lacks.
    """
    images, labels = {}, {}
    with _open(place.path) as file:
        for part in PARTS:
            for kind in ("images", "labels"):
                key = f"{part}_{kind}_{place.shots}"
                if key not in file.files:
                    raise UserError(f"{place.path} has no {key}")
                array, name = _array(file, key, place.path), f"{key} in {place.path}"
                if kind == "images":
                    images[part] = _images(array, name)
                elif array.ndim == 1 and np.issubdtype(array.dtype, np.integer) and len(array):
                    labels[part] = torch.from_numpy(array.astype(np.int64))
                else:
                    raise UserError(f"{name} must be whole numbers (N,), not {array.dtype} {array.shape}")
                if kind == "labels" and not 0 <= int(labels[part].min()) <= int(labels[part].max()) < MOST_CLASSES:
                    raise UserError(f"{name} must be from 0 to {MOST_CLASSES - 1}")
    classes = tuple(map(str, range(int(labels["source"].max()) + 1)))
    try:
        return FewLabelSplit(*(ImageTensors(images[part], labels[part], classes) for part in PARTS))
    except UserError as error:
        raise UserError(f"{place.path}, {place.shots} labels a class: {error}") from None
