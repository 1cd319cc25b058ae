"""What is said of a look at the images: plain sentences, read once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from tlcl.data.image_tensors import ImageTensors
from tlcl.errors import printable
from tlcl.system.figures import counted

if TYPE_CHECKING:
    from tlcl.data.look import ClassCount, EqualImages, Look

LISTED = 10  # classes that a sentence names
SHOWN = 3  # images of a group that it names
FEW = 5  # training images below which a class is named
UNEVEN = 3.0  # largest to smallest class from which it is said
ONE_SIDED = 5.0  # and from which it is said what may be done about it
LONGEST = 40  # letters of a name


def facts(look: "Look") -> list[str]:
    """What there is: classes, sizes, the split, and what an answer without a look would reach."""
    return [_classes(look), _sizes(look), _split(look), _always(look)]


def warnings(look: "Look") -> list[str]:
    """What a user may want to put right, or know before believing the figures."""
    return [*_counts(look), *_equals(look)]


def untested_words(test: ImageTensors, which: str) -> str:
    """`2 classes have no test image in the target: ants, bees.`; empty where all have, or nobody knows."""
    counts = torch.bincount(test.labels, minlength=len(test.classes)) if test.labelled else torch.ones(1)
    names = [short(name) for name, count in zip(test.classes, counts.tolist(), strict=False) if not count]
    return f"{_have(names)} no test image in the {which}: {_list(names)}." if names else ""


def short(name: str) -> str:
    """On one line and at most `LONGEST` letters, of which the last are kept, where files differ."""
    text = printable(name)
    return text if len(text) <= LONGEST else f"{text[:11]}…{text[12 - LONGEST :]}"


def _classes(look: "Look") -> str:
    classes, counts = look.classes, [one.total for one in look.classes]
    start = f"{counted(look.images, 'image')} of {counted(len(classes), 'class', 'classes')}"
    if len(set(counts)) == 1:
        return f"{start}, {counts[0]:,} of each: {_list(short(one.name) for one in classes)}."
    if len(classes) > LISTED:
        start, classes = f"{start}; the largest", tuple(sorted(classes, key=lambda one: -one.total))
    return f"{start}: {_list(f'{short(one.name)} ({one.total:,})' for one in classes)}."


def _list(items: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    texts = list(items)
    more = f", and {len(texts) - LISTED:,} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def _sizes(look: "Look") -> str:
    channels, height, width = look.stored
    stored, sizes = f"{width} x {height}", look.sizes
    if sizes is None:
        return f"They are {stored} pixels, in {'grey' if channels == 1 else 'colour'}."
    grey = " in grey" if channels == 1 else ""
    smallest, middle, largest = (f"{wide} x {high}" for wide, high in (sizes.smallest, sizes.middle, sizes.largest))
    if smallest == largest == stored:
        return f"All are {smallest} pixels and are stored at that size{grey}."
    start = f"They are {smallest} to {largest} pixels, the middle one {middle},"
    if smallest == largest:
        start = f"All are {smallest} pixels"
    kept = f"{start} and are stored at {stored}{grey} (shorter side resized, centre crop)."
    if 2 * sizes.enlarged <= look.images:
        return kept
    most = "All are" if sizes.enlarged == look.images else f"Most of them, {sizes.enlarged:,}, are"
    return f"{kept} {most} smaller than that and are enlarged."


def _split(look: "Look") -> str:
    origin = f" ({look.test_origin})" if look.test_origin else ""
    unused = f"; {look.unused:,} {'is' if look.unused == 1 else 'are'} not used" if look.unused else ""
    validate = f"{look.val:,}" if look.val else "none"
    return f"{look.train:,} to train on, {validate} to validate, {look.test:,} to test{origin}{unused}."


def _always(look: "Look") -> str:
    of = "images" if look.test > 1 else "image"
    return (
        f'Always answering "{short(look.answer)}" would be right on {100 * look.answer_acc:.1f} % of the test {of}.'
    )


def _counts(look: "Look") -> Iterator[str]:
    """Of files left out, uneven, small and untested classes."""
    if look.skipped:
        yield f"{counted(look.skipped, 'unreadable file')} {'was' if look.skipped == 1 else 'were'} left out."
    ordered = sorted(look.classes, key=lambda one: one.train)
    least, ratio = ordered[0], look.imbalance
    if ratio is not None and ratio >= UNEVEN:
        yield (
            f'The classes are uneven: "{short(look.answer)}" has {ordered[-1].train:,} images to train on, '
            f'"{short(least.name)}" {least.train:,}.'
        )
    if ratio is not None and ratio >= ONE_SIDED:
        yield (
            "For small classes to count as much as large ones in fine-tuning, set optim.class_weights=balanced, or "
            "data.balanced_batches=true."
        )
    few = [one for one in ordered if one.train < FEW]
    if few:
        yield f"{_have(few)} fewer than {FEW} images to train on: {_list(_train_count(one) for one in few)}."
    unvalidated = [one for one in look.classes if look.val and not one.val]
    if unvalidated:
        yield f"{_have(unvalidated)} no validation image: {_list(short(one.name) for one in unvalidated)}."
    untested = [one for one in look.classes if not one.test]
    if untested:
        yield f"{_have(untested)} no test image: {_list(short(one.name) for one in untested)}."


def _have(classes: Sequence[object]) -> str:
    return f"{counted(len(classes), 'class', 'classes')} {'has' if len(classes) == 1 else 'have'}"


def _train_count(one: "ClassCount") -> str:
    return f"{short(one.name)} ({one.train or 'none'})"


def _equals(look: "Look") -> Iterator[str]:
    """Of images that are equal pixel for pixel."""
    within, between, shared = look.within, look.between, look.train_test
    if within.groups:
        there = "is there more than once within its class"
        if within.groups > 1:
            there = "are there more than once within a class"
        yield f"{counted(within.groups, 'image')} {there}: {_named(within)}."
    if between.groups:
        has = "has" if between.groups == 1 else "have"
        yield f"{counted(between.groups, 'group')} of equal images {has} different classes: {_named(between)}."
    if shared.images:
        are = "image is" if shared.images == 1 else "images are"
        yield (
            f"{shared.images:,} test {are} also among the other images, pixel for pixel: the test accuracy may be "
            "too high."
        )


def _named(equal: "EqualImages") -> str:
    texts = [
        " = ".join(map(short, one.names[:SHOWN]))
        + (f" = {one.images - SHOWN:,} more" if one.images > SHOWN else "")
        for one in equal.examples
    ]
    more = f"; and {equal.groups - len(texts):,} more" if equal.groups > len(texts) else ""
    return "; ".join(texts) + more
