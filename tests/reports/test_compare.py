"""A comparison's page: which method's model it offers to use is chosen by validation images, or not at all."""

import json
from pathlib import Path

import pytest

from tlcl.reports import compare


def runs_of(root: Path, validation: dict[str, list[float | None]]) -> dict[str, dict[object, Path]]:
    found: dict[str, dict[object, Path]] = {}
    for method, accuracies in validation.items():
        for seed, accuracy in enumerate(accuracies):
            path = root / "runs" / f"{method}_seed{seed}"
            path.mkdir(parents=True)
            kept = None if accuracy is None else {"final_accuracy": accuracy}
            (path / "summary.json").write_text(json.dumps({"validation": kept}))
            found.setdefault(method, {})[seed] = path
    return found


@pytest.mark.parametrize(
    ("validation", "chosen"),
    [
        ({"er": [0.8, 0.6], "lwf": [0.7, 0.9], "joint": [0.95, 0.95]}, "lwf"),  # joint is an end of the scale
        ({"er": [0.8, 0.6], "lwf": [0.7, None]}, None),
        ({"er": [None], "lwf": [None]}, None),
    ],
)
def test_the_model_that_is_offered_is_the_best_of_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: dict[str, list[float | None]], chosen: str | None
) -> None:
    """The test images, by which the rows are sorted, say er."""
    found = runs_of(tmp_path, validation)
    monkeypatch.setattr(compare, "runs_by_method", lambda root: found)
    rows = [{"method": name, "final_accuracy": 0.9 - 0.1 * place} for place, name in enumerate(validation)]
    commands = compare.chosen_commands(tmp_path, rows, "final_accuracy")
    if chosen is None:
        assert commands == []
        return
    ((words, command),) = commands
    assert words == f"classify images with {chosen}, whose accuracy on the validation images is the highest"
    assert f"{chosen}_seed0" in command
