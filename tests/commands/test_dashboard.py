"""`tlcl dashboard`: views saved in W&B with a key and a server, without them the page."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.reports.dashboard.conftest import write_runs
from tlcl.commands import dashboard
from tlcl.errors import UserError
from tlcl.reports.dashboard import saved_views
from tlcl.reports.dashboard.views import FINETUNING, VIEWS


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`tlcl dashboard` in this process; what it printed."""

    def program(*arguments: object, key: bool) -> str:
        monkeypatch.setattr("sys.argv", ["tlcl dashboard", *map(str, arguments)])
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
