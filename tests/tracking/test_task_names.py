"""Names of tasks: domains only where the classes say so without doubt."""

import pytest

from tlcl.tracking.accuracy_matrix import domains_of, task_names


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        ([["photo/cat", "photo/dog"], ["sketch/cat", "sketch/dog"]], ["photo", "sketch"]),
        ([["cat", "dog"], ["ox", "owl"]], []),
        ([["T-shirt/top"], ["Trouser"]], []),  # FashionMNIST, a class a task
        ([["church/indoor", "church/outdoor"], ["bar", "beach"]], []),  # SUN397
        ([["church/indoor"], ["arch/indoor"]], []),
        ([["church/indoor", "church/outdoor"], ["church/indoor", "church/outdoor"]], []),
        ([["photo/cat", "photo/dog"], ["sketch/dog", "sketch/cat"]], []),
    ],
)
def test_domains_of(tasks: list[list[str]], names: list[str]) -> None:
    assert domains_of(tasks) == names
    assert task_names(tasks) == (names or [", ".join(classes) if len(", ".join(classes)) <= 22 else
                                           f"task {number} ({len(classes)} classes)"
                                           for number, classes in enumerate(tasks, start=1)])  # fmt: skip
