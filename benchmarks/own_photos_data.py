"""The images of `benchmarks.own_photos`: folders of class folders, another split for each seed."""

import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlcl.statistics.paired import Difference, paired_difference, paired_trainings

Rights = list[bool]
Files = dict[str, list[tuple[str, bytes]]]  # class -> names and contents


class Photos(NamedTuple):
    """A data set: from a folder of archives to what is trained and tested on with a seed.

    Attributes:
        split: archives' folder, seed -> files to train on, files to test on.
        overlap: test images over training images, where each seed draws both anew from the same ones; None: the
            test images are the same with each.
    """

    name: str
    split: Callable[[Path, int], tuple[Files, Files]]
    overlap: float | None = None

    def difference(self, first: Sequence[Rights], second: Sequence[Rights]) -> Difference:
        """Of two programs: of each split, in the same order, which test images are right."""
        if self.overlap is None or len(first) == 1:
            return paired_difference(first, second)
        return paired_trainings(first, second, overlap=self.overlap)


def read(path: Path, classes: set[str] | None = None) -> Files:
    """Every file of an archive of class folders, in the order of their names."""
    found: Files = defaultdict(list)
    with tarfile.open(path) as archive:
        for member in archive:
            label, _, name = member.name.rpartition("/")
            label = label.rpartition("/")[2]
            if member.isfile() and (classes is None or label in classes):
                content = archive.extractfile(member)
                assert content is not None
                found[label].append((name, content.read()))
    return {label: sorted(found[label]) for label in sorted(found)}


def drawn(files: Files, count: Callable[[int], int], seed: int) -> tuple[Files, Files]:
    """`count(n)` of each class's n files, at random, and the others."""
    random = np.random.default_rng(seed)
    chosen: Files = {}
    rest: Files = {}
    for label, items in files.items():
        order = random.permutation(len(items))
        first = count(len(items))
        chosen[label] = [items[index] for index in order[:first]]
        rest[label] = [items[index] for index in order[first:]]
    return chosen, rest


def joined(first: Files, second: Files) -> Files:
    return {label: first[label] + second[label] for label in first}


def ants_and_bees(root: Path, seed: int) -> tuple[Files, Files]:
    """The tutorial's own split with seed 0, others of the same sizes with the others."""
    train, test = read(root / "hymenoptera/train.tar"), read(root / "hymenoptera/val.tar")
    if seed == 0:
        return train, test
    sizes = {label: len(items) for label, items in train.items()}
    both = joined(train, test)
    parts = {label: drawn({label: both[label]}, lambda _, n=size: n, seed) for label, size in sizes.items()}  # type: ignore[misc]
    return (
        {label: part[0][label] for label, part in parts.items()},
        {label: part[1][label] for label, part in parts.items()},
    )


def pacs(domain: str, root: Path, seed: int) -> tuple[Files, Files]:
    """Three fifths of the images of a domain to train on: of the photos about 1,000."""
    return drawn(read(root / f"pacs/{domain}.tar"), lambda n: round(0.6 * n), seed)


def cifar10(root: Path, seed: int) -> tuple[Files, Files]:
    """100 images of each class to train on, and 200 of the test images of each."""
    train, _ = drawn(read(root / "cifar10/train.tar"), lambda _: 100, seed)
    test, _ = drawn(read(root / "cifar10/test.tar"), lambda _: 200, 0)
    return train, test


def tiny_imagenet(root: Path, seed: int) -> tuple[Files, Files]:
    """Its first 20 classes, 50 images of each, and all of their validation images."""
    lines = (root / "tiny_imagenet32/classes.txt").read_text("utf-8").splitlines()
    classes = {line.split("\t")[0] for line in lines[:20]}
    train, _ = drawn(read(root / "tiny_imagenet32/train.tar.gz", classes), lambda _: 50, seed)
    return train, read(root / "tiny_imagenet32/val.tar.gz", classes)


DOMAINS = tuple(
    Photos(f"PACS {domain.replace('_', ' ')}", partial(pacs, domain), 0.4 / 0.6)
    for domain in ("photo", "art_painting", "cartoon", "sketch")
)
SETS = (
    Photos("ants and bees", ants_and_bees, 153 / 244),
    DOMAINS[0],
    Photos("CIFAR-10, 1,000 images", cifar10),
    Photos("Tiny-ImageNet, 20 classes", tiny_imagenet),
)


def write(files: Files, folder: Path) -> Path:
    """As a user has them: a folder with one folder a class."""
    shutil.rmtree(folder, ignore_errors=True)
    for label, items in files.items():
        (folder / label).mkdir(parents=True)
        for name, content in items:
            (folder / label / name).write_bytes(content)
    return folder
