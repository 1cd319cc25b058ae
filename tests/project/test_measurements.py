"""What the benchmarks make of what they measured, beside independent references."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test, rankdata

from benchmarks import depth_claim, depth_race
from benchmarks.chain import METHODS, NETWORKS, steps
from benchmarks.steps import methods_table, perform
from tlcl.statistics.paired import holm

IMAGES = 200
SETS = ("a", "b", "c", "d", "e")
SIZES = (50, 200, 800, 2000)
RISING = np.array([[1, 2, 3, 4]] * 5) + np.array([3, 1, 4, 0, 2])[:, None]
FAR = {name: 0.1 * (number + 1) for number, name in enumerate(SETS)}


def answers(right: int) -> dict[str, Any]:
    return {"right": "1" * right + "0" * (IMAGES - right), "acc": right / IMAGES}


def measured(gains: np.ndarray) -> list[dict[str, Any]]:
    """Cases of three seeds: gains over a head that is right on 100, by set and labels, whatever the depth."""
    found = []
    for row, name in enumerate(SETS):
        for column, size in enumerate(SIZES):
            for seed in depth_claim.SEEDS:
                right = 100 + int(gains[row, column]) + (seed - 1)  # seeds differ, their mean does not
                settings = {"head": answers(100), **{depth: answers(right) for depth in ("1", "2", "4")}}
                case = {"images": name, "labels": size, "seed": seed, "blocks": list("abcde")}
                found.append(case | {"settings": settings})
    return found


def test_the_trend_with_the_distance_is_the_exact_permutation_test() -> None:
    gains = np.random.default_rng(0).permutation(20).reshape(5, 4) + 4 * np.arange(5)[:, None]
    found = depth_claim.trends(measured(gains), FAR)
    mine = [test for test in found if test["with"] == "the distance"]

    def steady(order: np.ndarray) -> float:
        """Mean rank correlation, by Pearson's of the ranks."""
        return float(np.mean([np.corrcoef(order, rankdata(column))[0, 1] for column in gains.T]))

    exact = permutation_test(
        (np.arange(5),), steady, permutation_type="pairings", alternative="greater", n_resamples=np.inf
    )
    assert [test["p"] for test in mine] == pytest.approx([exact.pvalue] * 3)
    assert mine[0]["rise"] == pytest.approx(float((gains[-1] - gains[0]).mean()) / IMAGES)
    assert [test["holm"] for test in found] == pytest.approx(holm([test["p"] for test in found]))


def test_a_gain_that_always_rises_with_the_labels_has_the_smallest_p_there_is() -> None:
    labels, *_ = depth_claim.trends(measured(RISING), FAR)
    assert labels["with"] == "the number of labels"
    assert labels["p"] == pytest.approx(24.0**-5)  # one of the orders of four, in each of five rows
    assert labels["rise"] == pytest.approx(3 / IMAGES)
    falling = depth_claim.trends(measured(RISING[:, ::-1]), FAR)
    assert all(test["p"] == pytest.approx(1) for test in falling if test["with"] == "the number of labels")


def test_seeds_of_one_set_are_no_rows() -> None:
    """A set counts once, and one that lacks a case is left out."""
    found = measured(RISING)
    assert {test["rows"] for test in depth_claim.trends(found, FAR)} == {5}
    assert {test["rows"] for test in depth_claim.trends(found[:-1], FAR)} == {4}
    assert depth_claim.trends(found[:24], FAR) == []  # two sets


def test_regret_by_hand() -> None:
    """Three settings on four images; halves are the images in turn."""
    found = {"settings": {
        "head": {"right": "1001"}, "1": {"right": "1011"}, "2": {"right": "0111"},
    }}  # fmt: skip
    whole, crossed = depth_race.regret(found, "head")
    assert whole == pytest.approx(1 / 4)
    # Images 1 and 3: head 1/2, depth 1 has 1; on the others depth 1 has 1/2, head 1/2: nothing lost.
    # Images 2 and 4: head 1/2, depth 2 has 1; on the others depth 2 has 1/2, head 1/2: nothing lost.
    assert crossed == pytest.approx(0)
    assert depth_race.regret(found, "1") == (0, pytest.approx((0 + (1 / 2 - 1)) / 2))


def test_the_methods_of_a_comparison(tmp_path: Path) -> None:
    rows = [
        {"method": "er", "curves": [[1.0, 0.8], [0.9, 0.6]], "final_accuracy": 0.7, "final_accuracy_std": 0.1,
         "forgetting": 0.2, "forgetting_std": 0.05, "seconds": 61},
        {"method": "joint", "curves": [[0.95]], "final_accuracy": 0.95, "final_accuracy_std": None,
         "forgetting": None, "forgetting_std": None, "seconds": 9},
        {"method": "lwf", "curves": []},
    ]  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(rows))
    table = methods_table(tmp_path / "compare.json")
    assert table.columns == ("method", "after 1", "after 2", "forgetting", "time")
    assert table.texts() == [
        ["er", "95.0", "70.0 ± 10.0", "20.0 ± 5.0", "1 min 01 s"], ["joint", "", "95.0", "", "9 s"],
    ]  # fmt: skip


def test_a_finished_step_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"status": "complete", "test_acc": 0.5}')
    assert perform(tmp_path, "no=such command")["test_acc"] == 0.5


@pytest.mark.parametrize("network", NETWORKS)
def test_the_steps_of_the_chain_are_commands(network: str) -> None:
    typed = steps(NETWORKS[network])
    assert list(typed)[-4:] == ["head", "blocks", "tasks", "methods"]
    assert all(method in typed["methods"] for method in METHODS)
