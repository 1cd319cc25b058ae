"""The dashboard: one description, a workspace in W&B and a page that show it; without a server, the page."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from tlcl.commands import dashboard
from tlcl.errors import UserError
from tlcl.reports.dashboard import saved_views
from tlcl.reports.dashboard.page import find_runs, labels_of, write_dashboard
from tlcl.reports.dashboard.plots import bars_figure, colours_of, lines_figure, parallel_figure
from tlcl.reports.dashboard.views import FINETUNING, SWEEP, VIEWS, Bars, Lines, Matrix, Parallel
from tlcl.reports.dashboard.workspace import build_workspace
from tlcl.tracking.finished_run import FinishedRun, read_run

EVIL = "<script>alert(1)</script>"


def record(path: Path, *, name: str = "finetune", finished: bool = True, **config: Any) -> Path:
    """A run's records by hand: three epochs, and in the end a test accuracy that the depth tells."""
    path.mkdir(parents=True)
    depth = config.get("thaw", {}).get("depth", 0)
    about = {"name": name, "seed": 0, "trainer": {"epochs": 3}, "logger": {"name": "none"}, "thaw": {}, **config}
    (path / "config.yaml").write_text(yaml.safe_dump(about))
    (path / "environment.json").write_text("{}")
    lines = [
        {"epoch": epoch, "train/loss": 1 / (epoch + 1), "val/acc": 0.5 + 0.1 * epoch, "lr/head": 0.1,
         "trainable": ["head"] * (1 + depth)}
        for epoch in range(3)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        summary = {
            "status": "complete",
            "test_acc": 0.7 + depth / 100,
            "train_size": 50,
            "selected": {"val_acc": 0.7},
        }
        (path / "summary.json").write_text(json.dumps(summary))
        (path / "report.html").write_text("")
    return path


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for depth in (0, 2, 5):
        record(root / "sweeps" / "grid" / str(depth), thaw={"depth": depth})
    record(root / "odd" / EVIL.replace("/", "∕"), name=EVIL, finished=False)
    (root / "sweeps" / "grid" / "0" / "wandb" / "files").mkdir(parents=True)
    (root / "sweeps" / "grid" / "0" / "wandb" / "files" / "environment.json").write_text("{}")
    (root / "broken").mkdir()
    (root / "broken" / "environment.json").write_text("{}")
    return root


def loaded(root: Path) -> list[FinishedRun]:
    return [run for path in ("0", "2", "5") if (run := read_run(root / "sweeps" / "grid" / path)) is not None]


def test_the_page_shows_the_runs_and_runs_nothing(runs_dir: Path) -> None:
    out = runs_dir / "dashboard.html"
    assert write_dashboard(runs_dir, out) == 4
    page = out.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#|sweeps/)', page)
    names = re.findall(r'<h2 id="view\d">(.*?)</h2>', page)
    assert names == ["Fine-tuning", "Sweeps"]  # no other job was run
    finetuning, sweeps = page.split("<h2 ")[1:]
    assert finetuning.count('class="dot"') == 4
    assert finetuning.count("(not finished)") == 1
    assert sweeps.count('class="dot"') == 3  # one alone is no sweep
    assert 'href="sweeps/grid/5/report.html">depth 5</a>' in sweeps
    assert [float(text) for text in re.findall(r"<td>(7\d\.\d) %</td><td>70", sweeps)] == [70.0, 72.0, 75.0]


def test_labels_tell_runs_apart(tmp_path: Path) -> None:
    record(tmp_path / "a", name="one", method={"name": "er"}, seed=0)
    record(tmp_path / "b", name="one", method={"name": "er"}, seed=1)
    record(tmp_path / "c", name="two")
    record(tmp_path / "d", name="three")
    record(tmp_path / "e", name="three")
    labels = {path.name: label for path, label in labels_of(find_runs(tmp_path), tmp_path).items()}
    assert labels == {"a": "seed 0", "b": "seed 1", "c": "two", "d": "three, d", "e": "three, e"}


def test_damaged_records_leave_the_rest(runs_dir: Path) -> None:
    """A line without its epoch, a figure that is none, a picture that is none."""
    zero, two = (runs_dir / "sweeps" / "grid" / name for name in ("0", "2"))
    (zero / "metrics.jsonl").write_text('{"val/acc": 1}\n')
    (two / "metrics.jsonl").write_text('{"epoch": 0, "val/acc": "x", "trainable": []}\n')
    (two / "summary.json").write_text('{"status": "complete", "test_acc": NaN, "train_size": "many"}')
    (two / "plots").mkdir()
    (two / "plots" / "confusion.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert write_dashboard(runs_dir, runs_dir / "dashboard.html") == 3


def test_names_are_no_formulas_in_its_pictures(tmp_path: Path) -> None:
    for name in (r"$\frac{$", "$$"):  # as a formula matplotlib cannot draw the first
        record(tmp_path / str(len(name)), name=name)
    assert write_dashboard(tmp_path, tmp_path / "dashboard.html") == 2
    assert (tmp_path / "dashboard.html").read_text().count("data:image/png") > 0


def lines_of(figure: Figure | None) -> list[Any]:
    assert figure is not None
    return list(figure.axes[0].get_lines())


def test_curves_are_the_recorded_figures(runs_dir: Path) -> None:
    runs = loaded(runs_dir)
    (line, *others) = lines_of(lines_figure(Lines("", "epoch", ("val/acc",)), runs, colours_of(runs)))
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.5], [1, 0.6], [2, 0.7]])
    assert len(others) == 2
    assert lines_figure(Lines("", "task", ("continual/forgetting",)), runs, colours_of(runs)) is None


def test_bars_are_sorted_and_name_what_is_left_out(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, labels = loaded(runs_dir), labels_of(loaded(runs_dir), runs_dir)
    monkeypatch.setattr("tlcl.reports.dashboard.plots.MOST_BARS", 2)
    figure = bars_figure(Bars("Test", "test_acc"), runs, labels, colours_of(runs))
    assert figure is not None
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.72]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["depth 5", "depth 2"]
    assert "the first 2 of 3" in axes.get_title(loc="left")


def test_parallel_coordinates_meet_their_axes(runs_dir: Path) -> None:
    """A line a run; on the last axis at its own height, and runs without a value are counted, not drawn."""
    panel = next(panel for panel in SWEEP.panels if isinstance(panel, Parallel))
    odd = [run for run in find_runs(runs_dir) if run.name == EVIL]
    figure = parallel_figure(panel, [*loaded(runs_dir), *odd])
    lines = [line for line in lines_of(figure) if len(line.get_xdata()) == len(panel.columns)]
    np.testing.assert_allclose([line.get_ydata()[-1] for line in lines], [0, 0.4, 1])
    np.testing.assert_allclose([line.get_ydata()[0] for line in lines], [0, 0.4, 1], atol=0.01)
    assert figure is not None
    assert "; 1 without one of these" in figure.axes[0].get_title(loc="left")


def keys_in(spec: Any) -> Iterator[str]:
    """Every text of a workspace's JSON."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            yield key
            yield from keys_in(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from keys_in(value)
    elif isinstance(spec, str):
        yield spec


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_workspace_shows_the_view(view: Any) -> None:
    spec = json.loads(build_workspace(view, "me", "p")._to_model().spec.model_dump_json(by_alias=True))["section"]
    texts = set(keys_in(spec))
    assert {key for _, key in view.curves()} <= texts
    assert {
        panel.title for panel in view.panels if not isinstance(panel, Matrix)
    } <= texts  # W&B names tables itself
    for value in view.values():
        group, *rest = value.key.split(".")
        name = value.key if value.where == "summary" else ".".join([group, "value", *rest])
        assert {f"{value.where}:{name}", value.key} & texts, value
    (section,) = spec["panelBankConfig"]["sections"]
    assert len(section["panels"]) == len(view.panels)
    lines = [panel["config"] for panel in section["panels"] if panel["viewType"] == "Run History Line Plot"]
    shown = [(line["xAxis"], key) for line in lines for key in line["metrics"]]
    assert shown == list(view.curves())
    (runs,) = spec["runSets"]
    (chosen,) = runs["filters"]["filters"]
    assert (chosen["key"]["name"], chosen["value"]) == ("jobType", view.job)
    assert [key["name"] for key in runs["grouping"]] == (["group"] if view.by_sweep else [])
    folded = {spec["settings"]["useRunsTableGroupingInPanels"]}
    folded.add(section["localPanelSettings"]["useRunsTableGroupingInPanels"])
    assert folded == {not view.by_sweep}  # grouped in the table, single in the panels


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`tlcl dashboard` in this process; what it printed."""

    def program(*arguments: object, key: bool) -> str:
        monkeypatch.setattr("sys.argv", ["tlcl-dashboard", *map(str, arguments)])
        monkeypatch.setattr("tlcl.tracking.wandb.resolve_mode", lambda _: "online" if key else "offline")
        dashboard._program()
        return capsys.readouterr().out

    return program


def test_without_a_key_the_page_is_written(runs_dir: Path, call: Callable[..., str]) -> None:
    assert call(runs_dir, key=False) == f"dashboard of 4 runs: {runs_dir / 'dashboard.html'}\n"
    call(runs_dir, "--out", runs_dir / "else.html", key=False)
    assert (runs_dir / "else.html").is_file()


def test_a_folder_without_runs_is_a_sentence(tmp_path: Path, call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="no runs below RUNS_DIR"):
        call(tmp_path, key=False)
    assert not (tmp_path / "dashboard.html").exists()
    with pytest.raises(UserError, match="no folder"):
        call(tmp_path / "nowhere", key=False)


def test_without_a_server_the_page_is_written(
    runs_dir: Path, call: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(saved_views, "_server", lambda: "http://127.0.0.1:9")
    assert "dashboard of 4 runs" in call(runs_dir, key=True)
    assert "W&B's server at http://127.0.0.1:9 cannot be reached; the page is written instead" in caplog.text


class Server(BaseHTTPRequestHandler):
    """Keeps views as W&B's server does: by id, found by name."""

    views: dict[str, dict[str, Any]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def execute(views: dict[str, dict[str, Any]], query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What the server answers to the queries of wandb-workspaces."""
    if "upsertView" in query:
        known = next((one for one in views.values() if one["id"] == variables.get("id")), None)
        assert known is None or known["name"] == variables["name"]
        one = {**variables, "id": variables.get("id") or f"id{len(views)}"}
        views[variables["name"]] = one
        return {"upsertView": {"view": {"id": one["id"], "name": one["name"]}, "inserted": known is None}}
    found = views.get(variables["viewName"])
    return {"project": {"allViews": {"edges": [{"node": found}] if found else []}}}


def test_views_are_saved_and_saved_again_in_their_place(
    runs_dir: Path, call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    views: dict[str, dict[str, Any]] = {}
    internal, interface = "wandb_workspaces.workspaces.internal", "wandb_workspaces.workspaces.interface"
    monkeypatch.setattr("wandb.Api", lambda **_: None)
    monkeypatch.setattr(f"{internal}.execute_graphql", lambda _, query, variables: execute(views, query, variables))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(saved_views, "_server", lambda: address)
    monkeypatch.setattr(f"{interface}.get_app_url", lambda _: address)
    try:
        first = call(runs_dir, "--entity", "me", key=True)
        assert [line.split(": ")[1] for line in first.splitlines()] == [view.name.split(": ")[1] for view in VIEWS]
        assert not (runs_dir / "dashboard.html").exists()
        assert call(runs_dir, "--entity", "me", key=True) == first
        assert len(views) == len(VIEWS)
        views.pop(next(name for name, one in views.items() if one["displayName"] == FINETUNING.name))
        changed = call(runs_dir, "--entity", "me", key=True)  # one was deleted in the browser
        assert changed.splitlines()[0] != first.splitlines()[0]
        assert changed.splitlines()[1:] == first.splitlines()[1:]
        call(runs_dir, "--entity", "me", "--project", "other", key=True)
    finally:
        server.shutdown()
    assert len(views) == 2 * len(VIEWS)
    assert {one["entityName"] for one in views.values()} == {"me"}
