"""The look at the images, against counts by hand, and what it says in whole sentences."""

import json
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.look import WIDTH, Look, look
from tlcl.data.splits import Split, train_val_split
from tlcl.jobs.outcome import duplicates

NAMES = ("ants", "bees", "cows")


def part(
    labels: list[int], first: int, *, names: bool = True, sizes: list[tuple[int, int]] | None = None,
    classes: tuple[str, ...] = NAMES, size: int = 128,
) -> ImageTensors:  # fmt: skip
    """Images that all differ, the first of them number `first`."""
    images = torch.zeros(len(labels), 1, size, size, dtype=torch.uint8)
    for number, image in enumerate(images, first):
        image.view(-1)[:2] = torch.tensor([number // 256, number % 256])
    files = tuple(f"{classes[label]}/{number}.jpg" for number, label in enumerate(labels, first)) if names else ()
    known = torch.tensor(sizes or [(128, 128)] * len(labels), dtype=torch.int32) if names else None
    return ImageTensors(images, torch.tensor(labels), classes, files, known)


def seen(pool: ImageTensors, test: ImageTensors, train: list[int], val: list[int], origin: str = "") -> Look:
    return look(
        Source(pool, test, test_origin=origin), Split(torch.tensor(train), torch.tensor(val, dtype=torch.long))
    )


def text(one: Look) -> str:
    return " ".join(line.strip() for line in one.sentences())


def test_counts_sizes_and_the_split() -> None:
    sizes = [(128, 128), (300, 128), (128, 171), (128, 200), (128, 130), (500, 400), (130, 128), (128, 180)]
    pool = part([0, 0, 0, 0, 1, 1, 1, 2], 0, sizes=sizes)
    test = part([0, 1, 1, 2], 100, sizes=[(128, 172)] * 4)
    one = seen(pool, test, [0, 1, 2, 4, 5], [3, 6], "in a separate folder")
    assert [(row.name, row.total, row.train, row.val, row.test) for row in one.classes] == [
        ("ants", 5, 3, 1, 1), ("bees", 5, 2, 1, 2), ("cows", 2, 0, 0, 1),
    ]  # fmt: skip
    assert one.sizes is not None
    assert (one.sizes.smallest, one.sizes.middle, one.sizes.largest) == ((128, 128), (128, 172), (500, 400))
    assert one.sizes.enlarged == 0
    assert (one.answer, one.answer_acc, one.imbalance) == ("ants", 0.25, None)
    assert one.sentences() == [
        "12 images of 3 classes: ants (5), bees (5), cows (2).",
        "They are 128 x 128 to 500 x 400 pixels, the middle one 128 x 172, and are stored at 128 x 128 in",
        "  grey (shorter side resized, centre crop).",
        "5 to train on, 2 to validate, 4 to test (in a separate folder); 1 is not used.",
        'Always answering "ants" would be right on 25.0 % of the test images.',
        "3 classes have fewer than 5 images to train on: cows (none), bees (2), ants (3).",
        "1 class has no validation image: cows.",
    ]


def test_equal_images_are_named_by_kind() -> None:
    pool, test = part([0, 0, 0, 1, 1, 2, 2, 2], 0), part([0, 1, 2, 2], 100)
    pool.images[1] = pool.images[0]  # ants twice
    pool.images[5] = pool.images[3]  # a bee that is a cow
    test.images[1] = pool.images[4]  # a bee in training and test
    test.images[3] = test.images[2]  # a cow twice in the test
    one = seen(pool, test, [0, 2, 3, 5], [1, 4, 6, 7])
    assert (one.within.groups, one.within.images) == (3, 6)
    assert [group.names for group in one.within.examples] == [
        ("bees/4.jpg", "bees/101.jpg (test)"),  # before the others, as it makes the test easier
        ("ants/0.jpg", "ants/1.jpg"),
        ("cows/102.jpg (test)", "cows/103.jpg (test)"),
    ]
    assert [group.names for group in one.between.examples] == [("bees/3.jpg", "cows/5.jpg")]
    assert (one.train_test.groups, one.train_test.images) == (1, 1)
    said = text(one)
    assert "3 images are there more than once within a class: bees/4.jpg = bees/101.jpg (test); ants/0.jpg" in said
    assert "1 group of equal images has different classes: bees/3.jpg = cows/5.jpg." in said
    assert "1 test image is also among the other images, pixel for pixel" in said


def test_many_equal_images_are_counted() -> None:
    pool = part([0] * 30 + [1] * 30, 0, names=False)
    for first in range(0, 24, 3):
        pool.images[first : first + 3] = pool.images[first]
    pool.images[30:50] = pool.images[30]
    pool.images[50] = pool.images[29]
    pool.images[51] = pool.images[28]
    one = seen(pool, part([0, 1, 1], 100, names=False), list(range(60)), [])
    assert (one.within.groups, one.within.images, len(one.within.examples)) == (9, 44, 5)
    said = text(one)
    assert "image 12 (ants) = image 13 (ants) = image 14 (ants); and 4 more." in said
    assert "2 groups of equal images have different classes: image 28 (ants) = image 51 (bees); image 29" in said
    assert "60 to train on, none to validate, 3 to test." in said
    assert "test image is also" not in said
    pool.images[:24] = torch.arange(100, 124, dtype=torch.uint8)[:, None, None, None]
    one = seen(pool, part([0, 1, 1], 100, names=False), list(range(60)), [])
    assert "1 image is there more than once within its class: image 30 (bees) = image 31 (bees) = image 32" in text(
        one
    )
    assert "image 32 (bees) = 17 more." in text(one)
    assert (one.within.examples[0].images, len(one.within.examples[0].names)) == (20, 10)


CROPPED = "(shorter side resized, centre crop)."


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ([(32, 32)] * 4, "All are 32 x 32 pixels and are stored at that size in grey. 2 to train"),
        ([(64, 48)] * 4, f"All are 64 x 48 pixels and are stored at 32 x 32 in grey {CROPPED} 2 to train"),
        ([(40, 30)] * 4, f"stored at 32 x 32 in grey {CROPPED} All are smaller than that and are enlarged."),
        ([(16, 40), (31, 99), (64, 64), (40, 31)], "Most of them, 3, are smaller than that and are enlarged."),
        ([(16, 40), (31, 99), (64, 64), (32, 32)], f"one 32 x 32, and are stored at 32 x 32 in grey {CROPPED} 2"),
        (None, "They are 32 x 32 pixels, in grey."),
    ],
)  # fmt: skip
def test_sizes_in_words(sizes: list[tuple[int, int]] | None, sentence: str) -> None:
    named = sizes is not None
    pool = part([0, 1], 0, sizes=sizes and sizes[:2], names=named, classes=("a", "b"), size=32)
    test = part([0, 1], 9, sizes=sizes and sizes[2:], names=named, classes=("a", "b"), size=32)
    assert sentence in text(seen(pool, test, [0, 1], []))


@pytest.mark.parametrize(("largest", "said"), [(24, False), (25, True)])
def test_five_to_one_is_told_what_may_be_done(largest: int, said: bool) -> None:
    labels = [0] * largest + [1] * 5
    pool, test = part(labels, 0, classes=("a", "b")), part([0, 1], 500, classes=("a", "b"))
    one = seen(pool, test, list(range(len(labels))), [])
    hint = "set optim.class_weights=balanced, or data.balanced_batches=true" in text(one)
    assert hint == said


def test_uneven_and_many_classes() -> None:
    names = tuple(f"kind{number:03}" for number in range(200))
    labels = [label for label in range(200) for _ in range(17 if label == 150 else 5)]
    pool, test = (
        part(labels, 0, classes=names, size=4),
        part([150] * 3 + list(range(199)), 5000, classes=names, size=4),
    )
    one = seen(pool, test, list(range(len(labels))), [])
    said = text(one)
    assert "1,214 images of 200 classes; the largest: kind150 (21), kind000 (6), kind001 (6), " in said
    assert "kind008 (6), and 190 more." in said
    assert one.imbalance == 17 / 5
    assert 'The classes are uneven: "kind150" has 17 images to train on, "kind000" 5.' in said
    assert "optim.class_weights" not in said
    assert 'Always answering "kind150" would be right on 2.0 % of the test images.' in said
    assert "1 class has no test image: kind199." in said
    assert "fewer than" not in said
    assert len(one.record()["classes"]) == 200
    pool, test = (part(list(range(200)) * n, 5000 * n, classes=names, size=4) for n in (2, 1))
    even = seen(pool, test, list(range(400)), [])
    assert "600 images of 200 classes, 3 of each: kind000, kind001," in text(even)
    assert "200 classes have fewer than 5 images to train on: kind000 (2)," in text(even)


@given(st.data())
def test_against_counts_of_another_kind(data: st.DataObject) -> None:
    """Whatever the labels, names, sizes and equal images: figures by `Counter`, short lines, plain JSON."""
    classes = tuple(data.draw(st.lists(st.text(min_size=1), min_size=2, max_size=12, unique=True), "classes"))
    count = len(classes)
    some = st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, 9)), min_size=2, max_size=30)
    every = [*enumerate(range(count))] * 2  # what splits need
    pool, test = [*every, *data.draw(some, "pool")], data.draw(some, "test")
    side = st.tuples(st.integers(1, 9000), st.integers(1, 9000))

    def tensors(items: list[tuple[int, int]]) -> ImageTensors:
        labels, values = zip(*items, strict=True)
        pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
        sizes = data.draw(st.lists(side, min_size=len(items), max_size=len(items)))
        files = tuple(data.draw(st.lists(st.text(), min_size=len(items), max_size=len(items))))
        return ImageTensors(pixels, torch.tensor(labels), classes, files, torch.tensor(sizes, dtype=torch.int32))

    source = Source(tensors(pool), tensors(test), data.draw(st.integers(0, 2)))
    split = train_val_split(source.pool.labels, train_size=None, val_size=None, seed=data.draw(st.integers(0, 9)))
    one = look(source, split)
    learnt = Counter(pool[index][0] for index in split.train.tolist())
    tested, total = Counter(label for label, _ in test), Counter(label for label, _ in pool + test)
    for label, row in enumerate(one.classes):
        assert (row.total, row.train, row.test) == (total[label], learnt[label], tested[label])
    largest = min(label for label in range(count) if learnt[label] == max(learnt.values()))
    assert one.answer_acc == sum(label == largest for label, _ in test) / len(test)
    assert one.unused == 0
    alike = [[label for label, value in pool + test if value == wanted] for wanted in range(12)]
    groups = [len(set(labels)) for labels in alike if len(labels) > 1]
    assert (one.within.groups, one.between.groups) == (groups.count(1), len(groups) - groups.count(1))
    assert one.train_test.images == duplicates(source)
    areas = sorted(wide * high for sizes in (source.pool.sizes, source.test.sizes) for wide, high in sizes.tolist())
    assert one.sizes is not None
    got = [wide * high for wide, high in (one.sizes.smallest, one.sizes.middle, one.sizes.largest)]
    assert got == [areas[0], areas[(len(areas) - 1) // 2], areas[-1]]
    lines = one.sentences()
    assert all(line.isprintable() and 0 < len(line) <= WIDTH for line in lines)
    record = one.record()
    assert json.loads(json.dumps(record)) == record
