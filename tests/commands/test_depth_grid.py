"""Depth x labels x distance: what the table says, against figures worked out by hand; and the whole of it, tiny."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import page_trend_test

from tlcl.errors import UserError
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.distance import Model
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.reports.depth_grid import sentence
from tlcl.reports.plots.depth_grid import gain_by_distance
from tlcl.reports.tables.depth_grid import Cell, GridRun, cells, claims
from tlcl.statistics.paired import paired_difference
from tlcl.sweeps import depth_grid_plan as depth_grid
from tlcl.sweeps import study
from tlcl.tracking.records import config_text

pytestmark = pytest.mark.usefixtures("undrawn")

NEAR_FAR = {"near": {"mmd": 0.2}, "far": {"mmd": 0.7}}


def run(target: str, size: int, depth: int, seed: int, val: float, test: float) -> GridRun:
    return GridRun(target, size, depth, seed, val, test, 0.1)


def test_the_depth_is_chosen_by_validation_and_its_gain_is_paired_by_seed() -> None:
    runs = [
        run("far", 50, 0, 0, 0.5, 0.50), run("far", 50, 0, 1, 0.5, 0.60),
        run("far", 50, 2, 0, 0.7, 0.54), run("far", 50, 2, 1, 0.7, 0.68),
        run("far", 50, 5, 0, 0.6, 0.99), run("far", 50, 5, 1, 0.6, 0.99),  # best on the test images, not chosen
    ]  # fmt: skip
    (cell,) = cells(runs, NEAR_FAR)
    assert (cell.best, cell.distance) == (2, 0.7)
    assert cell.accuracy == pytest.approx(0.61)
    assert cell.gain == pytest.approx(0.06)  # of 0.04 and 0.08
    assert cell.seeds == 2
    later = run("far", 50, 0, 2, 0.5, 0.9)  # a seed that has only the head yet
    (cell,) = cells([*runs, later], NEAR_FAR)
    assert (cell.seeds, cell.gain) == (2, pytest.approx(0.06))


def test_among_equals_the_depth_that_trains_least() -> None:
    runs = [run("near", 50, depth, 0, 0.5, 0.5) for depth in (5, 3, 0)]
    assert cells(runs, {})[0].best == 0


def test_the_claim_within_each_target_and_within_each_size() -> None:
    # depth 5 is chosen where size or distance is large, and its gain grows with both
    gains = {("near", 50): 0.0, ("near", 200): 0.1, ("far", 50): 0.2, ("far", 200): 0.3}
    runs = []
    for (target, size), gain in gains.items():
        runs += [run(target, size, 0, 0, 0.5, 0.5), run(target, size, 5, 0, 0.5 + gain, 0.5 + gain)]
    table = cells(runs, NEAR_FAR)
    assert [cell.target for cell in table] == ["near", "near", "far", "far"]
    rhos = {(claim["with"], claim["of"], claim["within"]): claim["rho"] for claim in claims(table)}
    assert rhos[("number of labels", "gain", "near")] == pytest.approx(1.0)
    assert rhos[("distance", "gain", "50")] == pytest.approx(1.0)
    assert rhos[("number of labels", "best", "near")] == pytest.approx(1.0)
    assert rhos[("number of labels", "best", "far")] is None  # 5 both times: nothing varies
    assert "chosen depth rises in 1 of 1" in sentence(table, "number of labels")
    assert sentence(table, "distance").endswith("these are too few for a test of the gain's trend.")
    reversed_runs = [one._replace(target={"near": "far", "far": "near"}[one.target]) for one in runs]
    rhos = {(c["with"], c["of"], c["within"]): c["rho"] for c in claims(cells(reversed_runs, NEAR_FAR))}
    assert rhos[("distance", "gain", "50")] == pytest.approx(-1.0)


def test_bars_are_paired_intervals() -> None:
    gains = {("near", 50): 0.0, ("far", 50): 0.2}
    runs = []
    for (target, size), gain in gains.items():
        runs += [run(target, size, 0, 0, 0.5, 0.5), run(target, size, 5, 0, 0.5 + gain, 0.5 + gain)]
    table = cells(runs, NEAR_FAR)
    right = np.random.default_rng(0).random((2, 100)) < [[0.5], [0.7]]
    pair = paired_difference(*right)
    axes = gain_by_distance(table, {("far", 50): pair}).axes[0]
    (bars,) = [lines.get_segments() for lines in axes.collections]
    drawn = [(bar[0][1], bar[1][1]) for bar in bars]
    half = (pair.difference - pair.low, pair.high - pair.difference)
    assert drawn == [(0.0, 0.0), (pytest.approx(0.2 - half[0]), pytest.approx(0.2 + half[1]))]


def test_a_trend_has_its_p() -> None:
    """Three targets have six orders, of which the steadiest rise is one."""
    table = [
        Cell(target, size, 2, 0.5, 0.5 - gain, gain, 3, distance)
        for distance, target in enumerate("abc")
        for size, gain in ((50, 0.01 + distance / 50), (200, 0.02 + distance / 50), (1000, 0.06 + distance / 50))
    ]
    assert "p = 0.17 (of all orders of the targets), no more than chance" in sentence(table, "distance")
    page = page_trend_test([[0, 1, 2]] * 3).pvalue
    assert f"p = {page:.2g} (Page's test)." in sentence(table, "number of labels")


def test_own_images_are_named_and_must_exist(tmp_path: Path) -> None:
    assert depth_grid.own_target(f"mine={tmp_path}").name == "mine"
    for wrong in ("mine", f"={tmp_path}", f"mine={tmp_path}/nothing"):
        with pytest.raises(UserError, match="--images="):
            depth_grid.own_target(wrong)


@pytest.mark.slow
def test_a_tiny_grid_ends_in_one_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_grid, "DEPTHS", (0, 5))
    monkeypatch.setattr(depth_grid, "epochs_for", lambda size: 1)
    monkeypatch.setattr(depth_grid, "QUIET", [*depth_grid.QUIET, "model.weights=none", "model.input_size=16"])
    monkeypatch.setattr(depth_grid, "DISTANCE_IMAGES", 200)
    net = build_model(ResNet18Config("resnet18", "none", 16), 26, 0)[0]
    monkeypatch.setattr(depth_grid, "load_model", lambda name, config: Model(net, name))
    targets = depth_grid.EMBEDDED[::2]
    root = tmp_path / "grid"
    page = depth_grid.depth_grid(root, targets, [40], [0]).read_text()
    assert page.count("data:image/png") == 2
    assert "inverted digits" in page
    content = json.loads((root / "depth_grid.json").read_text())
    measured = json.loads((root / "distances.json").read_text())
    assert {cell["target"]: cell["distance"] for cell in content["cells"]} == {
        name: figures["mmd"] for name, figures in measured.items()
    }
    for cell in content["cells"]:
        assert (cell["gain_interval"] is None) == (cell["best"] == 0)
    assert (root / "depth_grid.csv").read_text().count("\n") == 5
    stamps = [path.stat().st_mtime_ns for path in sorted(root.glob("runs/*/summary.json"))]
    depth_grid.depth_grid(root, targets, [40], [0])  # nothing is run a second time
    assert stamps == [path.stat().st_mtime_ns for path in sorted(root.glob("runs/*/summary.json"))]


@pytest.mark.parametrize(
    ("targets", "sizes", "seeds", "sentence"),
    [
        (["digits"], [50], [0], r"--images has digits twice"),
        (["f", "f"], [50], [0], r"--images has f twice"),
        (["f"], [50, 50], [0], r"--sizes has 50 twice"),
        (["f"], [50], [0, 0], r"--seeds has 0 twice"),
        (["f"], [0], [0], r"--sizes=0 must be at least 1"),
    ],
)
def test_what_is_there_twice_or_is_no_size_is_refused(
    tmp_path: Path, targets: list[str], sizes: list[int], seeds: list[int], sentence: str
) -> None:
    own = [depth_grid.own_target(f"{name}={tmp_path}") for name in targets]
    with pytest.raises(UserError, match=sentence):
        depth_grid.planned_runs(tmp_path, [*depth_grid.EMBEDDED, *own], sizes, seeds)


def test_a_size_that_a_target_has_not_is_said_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.train_size=1298 is more than the 1,297 images that"):
        depth_grid.depth_grid(tmp_path, depth_grid.EMBEDDED[1:], [50, 1298], [0])
    assert not list(tmp_path.iterdir())


def test_a_folder_of_any_name_is_a_target(tmp_path: Path) -> None:
    folder = tmp_path / "été, (alt)"
    folder.mkdir()
    (plan, *_) = depth_grid.planned_runs(tmp_path, [depth_grid.own_target(f"Blumen (alt)={folder}")], [8], [0])
    assert vars(plan.config.data)["train"] == str(folder)
    assert plan.config.name == "Blumen (alt) depth 0"


def test_a_run_of_other_images_is_not_taken_for_this_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (depth_grid.own_target(f"mine={tmp_path / name}") for name in ("one", "two"))
    (before, *_) = depth_grid.planned_runs(tmp_path / "grid", [one], [8], [0])
    study._check_same(before, tmp_path)  # not begun
    choose_device(before.config)
    before.path.mkdir(parents=True)
    (before.path / "config.yaml").write_text(config_text(before.config))
    (again, *_) = depth_grid.planned_runs(tmp_path / "grid", [one], [8], [0])
    study._check_same(again, tmp_path)
    (now, *_) = depth_grid.planned_runs(tmp_path / "grid", [two], [8], [0])
    with pytest.raises(UserError, match=r"holds a run with data\.train=.*one, not .*two; give another --out"):
        study._check_same(now, tmp_path)
