"""What the benchmarks make of what they measured, beside independent references."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test, rankdata, ttest_rel

from benchmarks import cases, depth_claim, depth_race, digits, layers, pacs, register, transcript
from benchmarks import luck as benchmark_luck
from benchmarks.chain import METHODS, NETWORKS, TARS, figures, steps
from benchmarks.common import with_files
from benchmarks.figure import Figure, Value
from benchmarks.steps import accuracy, methods_table, perform
from tests.reports.test_paired import run_in
from tlcl.config.candidates import SURGICAL
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.jobs import race_record
from tlcl.statistics.accuracy import accuracy_interval
from tlcl.statistics.luck import LUCK
from tlcl.statistics.paired import holm, paired_difference

IMAGES = 200
SETS = ("a", "b", "c", "d", "e")
SIZES = (50, 200, 800, 2000)
RISING = np.array([[1, 2, 3, 4]] * 5) + np.array([3, 1, 4, 0, 2])[:, None]
FAR = {name: 0.1 * (number + 1) for number, name in enumerate(SETS)}


def answers(right: int) -> dict[str, Any]:
    return {"right": cases.answers(number < right for number in range(IMAGES)), "acc": right / IMAGES}


def measured(gains: np.ndarray) -> list[dict[str, Any]]:
    """Cases of three seeds: gains over a head that is right on 100, by set and labels, whatever the depth."""
    found = []
    for row, name in enumerate(SETS):
        for column, size in enumerate(SIZES):
            for seed in depth_claim.SEEDS:
                right = 100 + int(gains[row, column]) + (seed - 1)  # seeds differ, their mean does not
                settings = {"head": answers(100), **{depth: answers(right) for depth in ("1", "2", "4")}}
                case = {"images": name, "labels": size, "seed": seed, "blocks": list("abcde"), "tested": IMAGES}
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


def test_gains_over_all_numbers_of_labels_are_their_means() -> None:
    found = measured(RISING)
    rows = {(name, what): gain for name, what, gain in depth_claim.over_sizes(found, FAR)}
    assert {what for _, what in rows} == set(depth_claim.OVER)
    for name in FAR:
        mine = [one for one in found if one["images"] == name]
        for what, base in depth_claim.OVER.items():
            setting = depth_claim.deepest(mine[0], what.split()[0])
            by_hand = np.mean([
                one["settings"][setting]["acc"] - one["settings"][base or "head"]["acc"] for one in mine
            ])  # fmt: skip
            if (name, what) in rows:
                assert rows[name, what].difference == pytest.approx(by_hand)
    table = depth_claim.over_sizes_table(depth_claim.over_sizes(found, FAR))
    expected = holm([gain.p for gain in rows.values()])
    shown = [cell for row in table.rows for cell in row[2::2]]
    assert shown == [f"{p:.2g}" for p in expected]
    assert len(depth_claim.over_sizes(found[:-1], FAR)) == len(rows) - len(depth_claim.OVER)


def test_regret_by_hand() -> None:
    """Three settings on four images; halves are the images in turn."""
    rights = {"head": "1001", "1": "1011", "2": "0111"}
    kept = {name: {"right": cases.answers(bit == "1" for bit in bits)} for name, bits in rights.items()}
    found = {"settings": kept, "tested": 4}
    whole, crossed = depth_race.regret(found, "head")
    assert whole == pytest.approx(1 / 4)
    # Images 1 and 3: head 1/2, depth 1 has 1; on the others depth 1 has 1/2, head 1/2: nothing lost.
    # Images 2 and 4: head 1/2, depth 2 has 1; on the others depth 2 has 1/2, head 1/2: nothing lost.
    assert crossed == pytest.approx(0)
    assert depth_race.regret(found, "1") == (0, pytest.approx((0 + (1 / 2 - 1)) / 2))


def test_the_luck_of_trainings_is_found_in_what_is_kept() -> None:
    """Of models whose gains have a luck of their own, 2 points, none otherwise; whatever the images do."""
    random, images = np.random.default_rng(0), 400
    for luck in (0.02, 0.0):
        found = {}
        for labels in range(600, 640):
            of_image = random.random(images) * 0.1
            for seed in range(3):
                head = random.random(images) < 0.7
                more = of_image + random.normal(0, luck)
                right = head | (random.random(images) < np.clip(more / 0.3, 0, 1))
                found[f"{labels}, {seed}"] = {
                    "network": "n", "images": "i", "labels": labels, "seed": seed, "tested": images,
                    "settings": {"head": {"right": cases.answers(head)}, "1": {"right": cases.answers(right)}},
                    "measured": {"date": "today", "commit": "c", "processor": "p"},
                }  # fmt: skip
        (row,) = benchmark_luck.figure(found).table().rows
        assert isinstance(row[-1], Value)
        assert row[-1].value == pytest.approx(luck, abs=0.006)


def test_own_photos_count_the_luck_that_the_races_have() -> None:
    assert register.read("training_luck").values["luck"].text() == f"{100 * LUCK:.1f}"


@pytest.mark.parametrize("images", [1, 8, 13])
def test_answers_are_kept_to_the_bit(images: int) -> None:
    right = np.random.default_rng(images).random(images) < 0.5
    assert (cases.rights(cases.answers(right), images) == right).all()
    assert cases.answers([True, False, False, True]) == "90"


def test_cases_go_on_where_another_stopped(tmp_path: Path) -> None:
    """Also beside another that keeps cases in the same file; a second measurement takes the first's place."""
    kept = tmp_path / "cases" / "some.jsonl"
    assert cases.read(kept) == {}
    for name, acc in (("b", 0.5), ("a", 0.25), ("b", 0.75)):
        cases.keep(kept, name, {"acc": acc})
    found = cases.read(kept)
    assert {name: one["acc"] for name, one in found.items()} == {"a": 0.25, "b": 0.75}
    assert [json.loads(line)["case"] for line in kept.read_text().splitlines()] == ["a", "b"]
    assert all({"commit", "date", "processor", "versions"} <= set(one["measured"]) for one in found.values())
    old, new = ({"date": f"202{year}-01-01", "commit": at, "processor": "A", "threads": year}
                for year, at in ((5, "abc"), (6, "def")))  # fmt: skip
    assert cases.measured([{"measured": one} for one in (old, new, old)]) == {**new, "commit": "abc, def"}


def test_only_what_is_not_kept_is_measured(tmp_path: Path) -> None:
    """Also nothing after the time is over; what was measured before stays as it was."""
    kept, asked = tmp_path / "some.jsonl", list[str]()

    def case(name: str) -> tuple[str, Callable[[], dict[str, Any]]]:
        return name, lambda: asked.append(name) or {"acc": 0.5}

    cases.keep(kept, "a", {"acc": 0.25})
    cases.go_on(kept, map(case, "ab"), 1, str)
    cases.go_on(kept, map(case, "abc"), -1, str)
    assert asked == ["b"]
    assert {name: one["acc"] for name, one in cases.read(kept).items()} == {"a": 0.25, "b": 0.5}


def test_the_race_is_counted_from_what_is_kept(tmp_path: Path) -> None:
    """One case by hand: a quarter lost by the head, and seconds with those of a setting that no fold asked."""
    kept, case = tmp_path / "race.jsonl", depth_race.CASES[0]
    settings = {"head": ("0011", 9), "1": ("1011", 2), "2": ("1011", 4), "4": ("0001", 6)}
    answers = {
        name: {"right": cases.answers(bit == "1" for bit in bits), "acc": bits.count("1") / 4, "seconds": seconds}
        for name, (bits, seconds) in settings.items()
    }
    cases.keep(kept, case.name, {"settings": answers, "tested": 4})
    assert depth_race.rows_of(kept) == []
    trainings = [{"setting": "1", "seconds": 2}, {"setting": "1", "seconds": 1}, {"setting": "2", "seconds": 3}]
    rows = [{"setting": "1", "better": True}, {"setting": "2", "better": False}]

    def raced(chosen: str | None) -> dict[str, Any]:
        record = {"chosen": chosen, "folds": 2, "settings": rows}
        cases.keep(kept, depth_race.raced(case), {"record": record, "trainings": trainings})
        (row,) = depth_race.rows_of(kept)
        return row

    row = raced(None)
    assert (row["chosen"], row["told"], row["gain"], row["regret"]) == ("head", False, 0, 0.25)
    # Depth 4 would take 6/6 of the 4.5 seconds that the others take in a fold.
    assert (row["seconds"], row["grid"]) == (6, pytest.approx(2 * (1.5 + 3 + 4.5)))
    assert [raced(name)["told"] for name in ("1", "2")] == [True, False]
    wrong = row | {"chosen": "1", "told": True, "gain": -0.1, "regret": 0.05, "seconds": 2, "grid": 6}
    assert case.seed == depth_race.SETTLED
    fresh = wrong | {"told": False, "gain": 0.1, "case": replace(case, seed=11)}
    table = depth_race.summary([row, wrong, fresh])

    def both(name: str) -> list[Any]:
        return [table.cell((name,), column) for column in ("all cases", "without seed 10")]

    assert both("mean regret, points") == ["11.7", "5.0"]
    assert both("cases in which deeper is called better") == ["1", "0"]
    assert both("cases in which deeper is the better guess") == ["1", "1"]
    assert table.rows[3][1:3] == (Value(1.0, "points", *accuracy_interval(1, 1)), "none")
    assert table.rows[4][1] == Value(1 / 3, "points", *accuracy_interval(1, 3))
    assert table.rows[6][1] == Value(0.0, "points", *accuracy_interval(0, 1))
    assert both("seconds of trainings, % of the grid's") == ["33.3", "33.3"]  # (6 + 2 + 2) / (18 + 6 + 6)
    assert both("always depth 4: % of cases in which it is worse than the head") == ["100.0", "100.0"]
    assert depth_race.cases_table([row]).texts()[0][-5:] == ["kept", "+0.0", "25.0", "+0.0", "33.3"]


def test_the_methods_of_a_comparison(tmp_path: Path) -> None:
    rows = [
        {"method": "er", "curves": [[1.0, 0.8], [0.9, 0.6]], "final_accuracy": 0.7, "final_accuracy_std": 0.1,
         "forgetting": 0.2, "forgetting_std": 0.05, "mean_confidence": 0.65, "mean_confidence_std": 0.1,
         "seconds": 61},
        {"method": "joint", "curves": [[None, 0.95]], "final_accuracy": 0.95, "final_accuracy_std": None,
         "forgetting": None, "forgetting_std": None, "seconds": 9},
        {"method": "lwf", "curves": []},
    ]  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(rows))
    table = methods_table(tmp_path / "compare.json")
    assert table.columns == ("method", "after 1", "after 2", "forgetting", "mean confidence", "time")
    assert table.texts() == [
        ["er", "95.0", "70.0 ± 10.0", "20.0 ± 5.0", "65.0 ± 10.0", "1 min 01 s"],
        ["joint", "", "95.0", "", "", "9 s"],
    ]  # fmt: skip


def test_methods_are_compared_on_the_same_test_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    right = {"er": draw.random(IMAGES) < 0.8, "slda": draw.random(IMAGES) < 0.6, "joint": draw.random(IMAGES) < 0.9}
    labels = draw.integers(4, size=IMAGES)
    for method, answer in right.items():
        run = run_in(tmp_path / "runs" / f"{method}_seed0", answer, labels)
        (run / "config.yaml").write_text(f"name: compared {method}\nseed: 0\n")
        (run / "summary.json").write_text('{"status": "complete"}')
    rows = [
        {"method": method, "curves": [[None, answer.mean()]], "final_accuracy": answer.mean(),
         "final_accuracy_std": None, "forgetting": None, "forgetting_std": None, "seconds": 9}
        for method, answer in right.items()
    ]  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(rows))
    table = methods_table(tmp_path / "compare.json")
    assert table.columns[3:5] == ("less er (95 %)", "p, Holm")
    expected = paired_difference(right["er"], right["slda"])
    cell = table.rows[1][3]
    assert isinstance(cell, Value)
    assert table.rows[1][4] == f"{expected.p:.2g}"
    assert (cell.value, cell.low, cell.high) == (expected.difference, expected.low, expected.high)
    assert (table.rows[0][3], table.rows[2][3]) == ("", ""), "joint is given more than they are"


def test_a_finished_step_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"status": "complete", "test_acc": 0.5}')
    assert perform(tmp_path, "no=such command")["test_acc"] == 0.5


def finished_run(folder: Path, **summary: Any) -> None:
    """A run that is done already."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"status": "complete", "test_size": 100, "seconds": 60.0, **summary}
    (folder / "summary.json").write_text(json.dumps(known))
    (folder / "environment.json").write_text(json.dumps({
        "git_commit": "0123456789", "git_dirty": False, "threads": 2, "processors": 2, "versions": {},
    }))  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_figures_of_the_chain(name: str, tmp_path: Path) -> None:
    """Of steps that are done: each is where the table of the page looks for it, with its interval."""
    network, out, weights = NETWORKS[name], tmp_path / "runs", tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    for tar in (*TARS, *network.tars):
        (tmp_path / tar).parent.mkdir(exist_ok=True)
        (tmp_path / tar).write_bytes(b"images")
    for step, accurate in (("pretrain", 0.4), ("head", 0.75), ("blocks", 0.9)):
        finished_run(out / network.folder / step, test_acc=accurate)
    finished_run(out / network.folder / "tasks", cumulative_accuracy=[0.99, 0.5, 0.3])
    finished_run(out / network.folder / "methods")
    row = {"method": "er", "curves": [[0.99, 0.7]], "final_accuracy": 0.7, "final_accuracy_std": None,
           "forgetting": 0.2, "forgetting_std": None, "seconds": 9}  # fmt: skip
    (out / network.folder / "methods" / "compare.json").write_text(json.dumps([row]))
    whole, curve, methods = figures(network, tmp_path, weights, out)
    assert whole.name == f"imagenet_to_cifar10_{network.folder}"
    pretrained = {"pretrained": 0.4} if network.pretrain else {}
    expected = {**pretrained, "head": 0.75, "blocks": 0.9, "seconds": 60}
    assert {key: value.value for key, value in whole.values.items()} == expected
    assert whole.values["blocks"].text() == "90.0 % (82.6 to 94.5 %)"  # Wilson, of 90 of 100
    assert [value.value for value in curve.values.values()] == [0.99, 0.5, 0.3]
    assert methods.table().cell(("er",), "after 2") == "70.0"
    assert set(whole.data) == {*TARS, *network.tars}
    assert bool(whole.weights) == (network.weights == "FILE")


def test_the_table_of_how_much_to_retrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds by hand: 60 and 62 of 100 right with the head alone, layer by layer 10 more, scratch 20 less."""
    more = {"head only": 0, "layer by layer": 10, "from scratch": -20}

    def done(folder: Path, typed: str) -> list[Path]:
        arm = folder.name.replace("_", " ")
        assert digits.ARMS[arm] in typed
        runs = []
        for size in digits.SIZES:
            for seed in (0, 1):
                right = np.arange(100) < 60 + 2 * seed + more[arm]
                run = run_in(folder / f"{size}_{seed}", right, np.arange(100) % 4)
                finished_run(run, test_acc=right.mean())
                (run / "config.yaml").write_text(f"seed: {seed}\ndata:\n  train_size: {size}\n")
                runs.append(run)
        return runs

    monkeypatch.setattr(digits, "sweep", done)
    table = digits.retrain(tmp_path).table()
    assert [row[0] for row in table.rows] == ["50", "1,297"]
    assert table.cell(("50",), "head only") == "61.0 ± 1.4"
    assert table.cell(("50",), "layer by layer") == "71.0 ± 1.4"
    assert table.cell(("50",), "layer by layer less head only (95 %)").startswith("+10.0 (+")
    assert table.cell(("1,297",), "from scratch less head only (95 %)").startswith("-20.0 (-")


@pytest.mark.parametrize("network", NETWORKS)
def test_the_steps_of_the_chain_are_commands(network: str) -> None:
    typed = steps(NETWORKS[network])
    assert list(typed)[-4:] == ["head", "blocks", "tasks", "methods"]
    assert all(method in typed["methods"] for method in METHODS)


def test_streams_are_compared_on_the_same_images(tmp_path: Path) -> None:
    """Runs that are done already, by hand: 60 of 100 images right, then 40 of the same 60 and 10 others."""
    stream = layers.STREAMS["cifar10"]
    for path in stream.hashed:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"images")
    rights = {"layers": np.arange(100) < 60, "er": (np.arange(100) < 40) | (np.arange(100) >= 90)}
    for method, right in rights.items():
        run = tmp_path / "runs" / method
        finished_run(
            run, test_acc=right.mean(), task_given_accuracy=None, forgetting=0.25,
            mean_confidence=0.5,
        )  # fmt: skip
        probabilities = np.eye(2)[1 - right.astype(int)]
        np.savez(run / "test_predictions.npz", probabilities=probabilities, labels=np.zeros(100, dtype=int))
    found = layers.figure(stream, tmp_path, tmp_path / "runs", ["layers", "er"])
    table = found.table()
    assert table.cell(("layers",), "all classes") == accuracy({"test_acc": 0.6, "test_size": 100}).text()
    assert table.cell(("er",), "less layers (95 %)").startswith("-10.0 (-20.8 to +")  # 10 better, 20 worse
    assert (table.cell(("er",), "with the task given"), table.cell(("er",), "forgetting")) == ("", "25.0")
    assert found.values["er"].value == 0.5
    assert found.certify is not None
    assert "data.train=cifar10/train.tar" in found.certify["run"]


@pytest.mark.parametrize("stream", layers.STREAMS)
def test_the_streams_are_commands(stream: str) -> None:
    for method in layers.METHODS:
        typed = with_files(layers.typed(layers.STREAMS[stream], method), {})
        config = parse_config(composed_config(typed))
        assert config.method is not None
        assert config.method.name == method


def test_the_pairs_of_domains_by_hand() -> None:
    """Two methods, one seed: dann is right on two images more of ten in every pair, in cartoons on four more."""
    found: dict[str, Any] = {}
    for pair in pacs.PAIRS:
        for method, right in (("source_only", 4), ("dann", 8 if pair[1] == "cartoon" else 6)):
            kept = cases.answers(number < right for number in range(10))
            line = {"right": kept, "tested": 10, "acc": right / 10, "last_acc": right / 10, "source_acc": 1.0}
            found[pacs.Case("lite0", method, pair, 0).name] = line | {"seconds": 30}
    table = pacs.table(found, "lite0", (0,))
    assert [row[0] for row in table.rows] == ["source_only", "dann"]
    assert table.cell(("source_only",), "last epoch, %") == "40.0"
    assert table.cell(("dann",), "last epoch, %") == "65.0"  # nine pairs at 60, three at 80
    expected = ttest_rel([0.6] * 9 + [0.8] * 3, [0.4] * 12).confidence_interval(0.95)
    gain = table.rows[1][3]
    assert isinstance(gain, Value)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.25, expected.low, expected.high))
    assert table.cell(("dann",), "time for 12 pairs") == "6 min"
    one = pacs.pair_table(found, "lite0", ("photo", "cartoon"), (0,))
    assert (one.cell(("dann",), "last epoch, %"), one.cell(("dann",), "tested epoch, %")) == ("80.0", "80.0")
    assert one.cell(("dann",), "less source_only (95 %)").startswith("+40.0 (")
    assert pacs.pair_table(found, "resnet18", pacs.SHOWN, ()).rows == ()
    del found[pacs.Case("lite0", "dann", pacs.PAIRS[5], 0).name]
    assert [row[0] for row in pacs.table(found, "lite0", (0,)).rows] == ["source_only"]


@pytest.mark.parametrize("network", pacs.NETWORKS)
@pytest.mark.parametrize("method", pacs.METHODS)
def test_the_pairs_are_commands(network: str, method: str) -> None:
    typed = pacs.Case(network, method, pacs.SHOWN, 0).typed("/pacs", "/weights.safetensors")
    config = parse_config(composed_config(with_files(typed, {})))
    assert config.adaptation is not None
    assert config.adaptation.name == method


def test_a_figure_of_more_cases_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept may lack cases that were measured before."""
    for name, function in (("names", register.names), ("write", register.write), ("read_figure", register.read)):
        monkeypatch.setattr(cases, name, partial(function, folder=tmp_path))
    monkeypatch.setattr(cases, "CASES", tmp_path)
    for done, there in ((3, 3), (2, 3), (5, 5)):
        cases.write_whole(Figure("one", ("python",), (0,), parts=(f"{done} of 60 cases.",)), tmp_path / "one.jsonl")
        other = Figure("one", ("python",), (0,), parts=("60 of 60 cases.",))
        cases.write_whole(other, tmp_path / "elsewhere" / "one.jsonl")  # whatever is kept elsewhere
        assert cases.cases_of(register.read("one", tmp_path)) == (there, 60)


def test_what_is_printed_is_abridged() -> None:
    """No line of what is being done, one epoch a training, words for paths and dates, tables as they are."""
    table = "setting  trains         gain over the head, points (95 %)  " + "x" * 80
    said = [
        "starting", "computing the outputs of layer3", "training head", "epoch   0  loss 1", "epoch   1  loss 0",
        "epoch   2  loss 0", "training layer4", "epoch   0  loss 2", "report: runs/2026-11-30_08-20-50/report.html",
        "tlcl train data.train=/tmp/a.tar", table, " ".join(["word"] * 30),
    ]  # fmt: skip
    assert transcript.abridged(said, {"/tmp/a.tar": "PHOTOS"}) == [
        "training head", "epoch   0  loss 1", "…", "training layer4", "epoch   0  loss 2",
        "report: runs/DATE/report.html", "tlcl train data.train=PHOTOS", table, " ".join(["word"] * 21),
        "  " + " ".join(["word"] * 9),
    ]  # fmt: skip


def test_what_gains_are_expected_is_about_what_was_measured() -> None:
    """In points: the mean of depths not above it, both within two, deviations within one."""
    gains: dict[bool, list[float]] = {True: [], False: []}
    for file in ("depth_claim.jsonl", "depth_race.jsonl"):
        for case in cases.read(cases.CASES / file).values():
            answers = case.get("settings", {})
            for name, one in answers.items():
                if name != "head":
                    gains[name in SURGICAL].append(100 * (one["acc"] - answers["head"]["acc"]))
    for expected, known in ((race_record.DEPTHS, gains[False]), (race_record.SURGICAL, gains[True])):
        assert abs(100 * expected[0] - np.mean(known)) < 2
        assert abs(100 * expected[1] - np.std(known)) < 1
    assert 100 * race_record.DEPTHS[0] <= np.mean(gains[False])
