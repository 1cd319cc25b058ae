"""A look at the images before a run: how many, of what, how large, how split, and what is odd about them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from textwrap import wrap
from typing import Any

import torch
from torch import Tensor

from tlcl.data.equal_images import digests_of, equal_groups
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.look_words import facts, warnings
from tlcl.data.splits import Split
from tlcl.system.text import plain

EXAMPLES, FILES = 5, 10  # groups of equal images that are kept, and names of each
WIDTH = 100  # columns of a terminal


@dataclass(frozen=True)
class ClassCount:
    """Images of one class: `total` of them, some of which may be in no part of the split."""

    name: str
    total: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Sizes:
    """(width, height) in pixels of the images in order of their area, and how many are enlarged to be stored."""

    smallest: tuple[int, int]
    middle: tuple[int, int]
    largest: tuple[int, int]
    enlarged: int


@dataclass(frozen=True)
class Group:
    """So many equal images, some of them by name."""

    images: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class EqualImages:
    """`groups` of equal images with `images` in all, `examples` of them first."""

    groups: int
    images: int
    examples: tuple[Group, ...]


@dataclass(frozen=True)
class Look:
    """What is seen.

    Attributes:
        images: of the pool and the test together.
        stored: channels, height and width.
        sizes: of the originals; None where there are no files.
        unused: images of the pool that are neither trained on nor validated on.
        test_origin, skipped: as the source says.
        answer, answer_acc: the class that is largest in training, the first of equals, and the accuracy (0..1) of
            always answering it, on the test images.
        within, between: equal images of one class, and of more than one: a conflict of labels.
        train_test: equal images in the pool and in the test; `images` counts those of the test.
    """

    images: int
    classes: tuple[ClassCount, ...]
    stored: tuple[int, int, int]
    sizes: Sizes | None
    train: int
    val: int
    test: int
    unused: int
    test_origin: str
    skipped: int
    answer: str
    answer_acc: float
    within: EqualImages
    between: EqualImages
    train_test: EqualImages

    @property
    def imbalance(self) -> float | None:
        """Training images of the largest class for each of the smallest; None where that has none."""
        counts = [one.train for one in self.classes]
        return max(counts) / min(counts) if min(counts) else None

    def record(self) -> dict[str, Any]:
        """For JSON, with what `sentences` says; lists where a key for each class or file would be too many."""
        said = {"facts": facts(self), "warnings": warnings(self)}
        return {**_listed(asdict(self)), "imbalance": self.imbalance, **said}

    def sentences(self) -> list[str]:
        """Lines of at most `WIDTH` columns, what is odd at the end; further lines of a sentence are indented."""
        return [
            line
            for sentence in (*facts(self), *warnings(self))
            for line in wrap(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        ]


def look(source: Source, split: Split) -> Look:
    """Look at all images of `source`, whose pool is split by `split`; 10,000 of 3 x 128 x 128 take 0.4 seconds."""
    pool, test = source.pool, source.test
    counts = [_count(pool, split.train), _count(pool, split.val), _count(test), _count(pool)]
    train, val, held, whole = counts
    classes = tuple(
        ClassCount(plain(name), whole[label] + held[label], train[label], val[label], held[label])
        for label, name in enumerate(pool.classes)
    )
    answer = train.index(max(train))
    within, between, shared = _equal(source)
    channels, height, width = pool.images.shape[1:]
    return Look(
        images=len(pool) + len(test),
        classes=classes,
        stored=(channels, height, width),
        sizes=_sizes(source),
        train=sum(train),
        val=sum(val),
        test=len(test),
        unused=len(pool) - sum(train) - sum(val),
        test_origin=source.test_origin,
        skipped=source.skipped,
        answer=classes[answer].name,
        answer_acc=held[answer] / len(test),
        within=within,
        between=between,
        train_test=shared,
    )


def _count(data: ImageTensors, part: Tensor | None = None) -> list[int]:
    """Images of each class, in all or in a part."""
    labels = data.labels if part is None else data.labels[part]
    return [int(count) for count in torch.bincount(labels, minlength=len(data.classes))]


def _sizes(source: Source) -> Sizes | None:
    if source.pool.sizes is None or source.test.sizes is None:
        return None
    height, width = source.pool.images.shape[2:]
    pairs = torch.cat([source.pool.sizes, source.test.sizes]).tolist()
    ordered = sorted(((wide, high) for wide, high in pairs), key=lambda size: (size[0] * size[1], size))
    enlarged = sum(wide < width or high < height for wide, high in ordered)
    return Sizes(ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1], enlarged)


def _equal(source: Source) -> tuple[EqualImages, EqualImages, EqualImages]:
    """`within`, `between` and `train_test` of a `Look`; groups in training and test come before others."""
    pool, test = source.pool, source.test
    labels = [*pool.labels.tolist(), *test.labels.tolist()]
    groups = equal_groups([*digests_of(pool), *digests_of(test)])
    groups.sort(key=lambda group: not _leaks(group, len(pool)))
    same = [len({labels[index] for index in group}) == 1 for group in groups]

    def of(chosen: list[list[int]], first: int = 0) -> EqualImages:
        """These groups, of which images from the index `first` on are counted."""
        examples = (Group(len(group), tuple(_names(source, group[:FILES]))) for group in chosen[:EXAMPLES])
        return EqualImages(len(chosen), sum(index >= first for index in chain(*chosen)), tuple(examples))

    return (
        of([group for group, one in zip(groups, same, strict=True) if one]),
        of([group for group, one in zip(groups, same, strict=True) if not one]),
        of([group for group in groups if _leaks(group, len(pool))], first=len(pool)),
    )


def _leaks(group: list[int], pool: int) -> bool:
    """Whether images of the pool, whose indices are below `pool`, and of the test are in the group."""
    return group[0] < pool <= group[-1]


def _names(source: Source, group: list[int]) -> Iterator[str]:
    """The files, or numbers and classes where there are none; those of the test are marked."""
    for index in group:
        part, place = (source.pool, index) if index < len(source.pool) else (source.test, index - len(source.pool))
        marks = ["test"] if part is source.test else []
        if not part.names:
            marks = [part.classes[int(part.labels[place])], *marks]
        name = part.names[place] if part.names else f"image {place}"
        yield plain(f"{name} ({', '.join(marks)})" if marks else name)


def _listed(value: Any) -> Any:
    """The same with a list for every tuple, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, tuple | list) else value
