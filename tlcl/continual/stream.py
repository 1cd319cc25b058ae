"""The classes of a data set as tasks, one after another: index tensors and labels, never copies of images."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tlcl.config.continual import ContinualConfig
from tlcl.data.image_tensors import Source
from tlcl.data.splits import Split, train_val_split
from tlcl.errors import UserError
from tlcl.seeding import generator
from tlcl.system.figures import counted

DOMAIN = "domain_incremental"
TASK = "task_incremental"


@dataclass(frozen=True)
class Task:
    """One experience of the stream.

    Attributes:
        index: place in the stream, from 0.
        members: the data set's classes that come with it, as labels of the data set.
        outputs: the network outputs that stand for them (the same as `members`, but for domain-incremental).
        split: training and validation indices into the pool.
        test: indices into the test set.
    """

    index: int
    members: tuple[int, ...]
    outputs: tuple[int, ...]
    split: Split
    test: Tensor


@dataclass(frozen=True)
class Stream:
    """All tasks, and the source with the labels that the network is trained on.

    Attributes:
        source: the data; shares its images with the source it was made from.
        tasks: in order.
        names: the data set's own class names, by `Task.members`.
        competing: bool (K, K); row c marks the outputs that compete with class c in training and at test time
            when the task is known: all of them, or in the task-incremental scenario those of its own task.
        known_task: whether the task of a test image is known (task-incremental).
    """

    source: Source
    tasks: tuple[Task, ...]
    names: tuple[str, ...]
    competing: Tensor
    known_task: bool

    @property
    def num_outputs(self) -> int:
        return len(self.competing)

    def allowed(self, labels: Tensor, after: int) -> Tensor:
        """Which outputs may be the answer to test images after task `after`: bool (N, K).

        An output of a class that has not come yet is never allowed, except that a task named to the network
        (task-incremental) opens its own outputs: that is what forward transfer measures.

        Args:
            labels: int64 (N,); read only when the task is known.
        """
        if self.known_task:
            return self.competing[labels]
        seen = torch.zeros(self.num_outputs, dtype=torch.bool)
        for task in self.tasks[: after + 1]:
            seen[list(task.outputs)] = True
        return seen.expand(len(labels), -1)


def of_one_task(tasks: Sequence[Task], outputs: int) -> Tensor:
    """bool (K, K): which of K outputs belong to a task together."""
    together = torch.zeros(outputs, outputs, dtype=torch.bool)
    for task in tasks:
        together[torch.tensor(task.outputs)[:, None], torch.tensor(task.outputs)] = True
    return together


def task_sizes(classes_per_task: Any, num_classes: int) -> list[int]:
    """The number of classes of each task.

    Raises:
        UserError: a number that does not divide the classes, or a list that does not add up to them.
    """
    given = classes_per_task
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= num_classes:
        if num_classes % given == 0:
            return [given] * (num_classes // given)
        sizes = [given] * (num_classes // given) + [num_classes % given]
        raise UserError(
            f"continual.classes_per_task={given} does not divide the {counted(num_classes, 'class', 'classes')}; "
            f"give a list such as {sizes}"
        )
    whole = isinstance(given, list) and all(type(size) is int and size > 0 for size in given)
    if not whole or sum(given) != num_classes:
        raise UserError(
            f"continual.classes_per_task={given!r} must be a whole number from 1 to {num_classes}, or a list of "
            f"such numbers that adds up to the {counted(num_classes, 'class', 'classes')}"
        )
    return list(given)


def class_order(order: Any, names: Sequence[str], seed: int) -> list[int]:
    """The labels in the order in which their classes come.

    Raises:
        UserError: neither `given`, `shuffled` nor each class name once.
    """
    if order == "given":
        return list(range(len(names)))
    if order == "shuffled":
        return torch.randperm(len(names), generator=generator(seed, "class order")).tolist()
    if not isinstance(order, list):
        raise UserError(f"continual.class_order={order!r} must be given, shuffled or a list of all class names")
    wanted = [unicodedata.normalize("NFC", str(name)) for name in order]  # as the names of folders are
    for name in wanted:
        if name not in names:
            raise UserError(f"continual.class_order names {name!r}; the classes are {', '.join(names)}")
        if wanted.count(name) > 1:
            raise UserError(f"continual.class_order names {name!r} twice; name each class once")
    lacking = [name for name in names if name not in wanted]
    if lacking:
        raise UserError(f"continual.class_order lacks {', '.join(lacking)}; name each class once")
    return [list(names).index(name) for name in wanted]


def _relabel(source: Source, order: list[int], size: int) -> Source:
    """Labels become places within a task, 0..size-1 (van de Ven & Tolias 2019, "Three scenarios")."""
    place = torch.empty(len(order), dtype=torch.int64)
    place[torch.tensor(order)] = torch.arange(len(order)) % size
    names = source.domain_classes or tuple(f"place {number + 1}" for number in range(size))
    pool, test = (
        replace(part, labels=place[part.labels], classes=names) for part in (source.pool, source.test)
    )
    return replace(source, pool=pool, test=test)


def _check_domains(source: Source, config: ContinualConfig) -> None:
    """That each task is a domain.

    Raises:
        UserError: another scenario, number of classes or order.
    """
    size = len(source.domain_classes)
    wanted = {"scenario": DOMAIN, "classes_per_task": size, "class_order": "given"}
    for key, value in wanted.items():
        if (given := getattr(config, key)) != value:
            raise UserError(
                f"continual.{key}={given} must be {value} with data=domain_stream: each task is a domain of {size} "
                "classes, in the order of data.domains"
            )


def build_stream(
    source: Source, config: ContinualConfig, *, train_size: int | None, val_size: int | None, seed: int
) -> Stream:
    """Split `source` into tasks.

    The split into training and validation images is that of fine-tuning with the same sizes and seed
    (`train_val_split`), so both jobs see the same images.

    Raises:
        UserError: impossible sizes or orders, fewer than two tasks, tasks of unequal size in the
            domain-incremental scenario, tasks that are not the source's domains, a class without training or
            test images.
    """
    names, labels = source.pool.classes, source.pool.labels
    if source.domains:
        _check_domains(source, config)
    sizes = task_sizes(config.classes_per_task, len(names))
    order = class_order(config.class_order, names, seed)
    if len(sizes) < 2:
        raise UserError(f"continual.classes_per_task={config.classes_per_task} makes one task; there must be two")
    domain = config.scenario == DOMAIN
    if domain and (len(set(sizes)) > 1 or sizes[0] < 2):
        raise UserError(
            f"continual.classes_per_task={config.classes_per_task}: the domain-incremental scenario needs tasks "
            "of one size, at least 2"
        )
    if config.scenario == TASK and min(sizes) < 2:
        raise UserError(
            f"continual.classes_per_task={config.classes_per_task}: a task of one class has nothing to tell apart "
            "when the task is known"
        )
    split = train_val_split(
        labels, train_size=train_size, val_size=val_size, seed=seed, classes=names, val=source.val
    )
    tasks: list[Task] = []
    for index, size in enumerate(sizes):
        first = sum(sizes[:index])
        members = tuple(order[first : first + size])
        outputs = tuple(range(size)) if domain else members
        wanted = torch.tensor(members)
        train, val = (part[torch.isin(labels[part], wanted)] for part in (split.train, split.val))
        test = torch.isin(source.test.labels, wanted).nonzero().squeeze(1)
        tasks.append(Task(index, members, outputs, Split(train, val), test))
        for label in members:
            if not bool((source.test.labels == label).any()):
                raise UserError(
                    f"the class {names[label]!r} has no test image; every class needs some: add images of it, or "
                    "raise data.test_fraction"
                )
    outputs_total = sizes[0] if domain else len(names)
    competing = torch.ones(outputs_total, outputs_total, dtype=torch.bool)
    if config.scenario == TASK:
        competing = of_one_task(tasks, outputs_total)
    if domain:
        source = _relabel(source, order, sizes[0])
    return Stream(source, tuple(tasks), names, competing, known_task=config.scenario == TASK)
