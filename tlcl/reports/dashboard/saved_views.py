"""The dashboard's views saved in a project of W&B, and found there again."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from tlcl.errors import UserError
from tlcl.reports.dashboard.views import VIEWS
from tlcl.system.files import atomic_write_text
from tlcl.tracking.records import read_object

SAVED = "wandb_views.json"  # beside the runs: "ENTITY/PROJECT" -> name of the view -> its address
SECONDS = 15


def reachable(address: str) -> bool:
    """Whether a web server answers there, whatever it says."""
    try:
        urllib.request.urlopen(address, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _server() -> str:
    import wandb

    return str(wandb.setup().settings.base_url)


def save_views(entity: str | None, project: str, runs_dir: Path) -> dict[str, str]:
    """Save every view in W&B, in the place of what was saved before; returns their addresses by name.

    Raises:
        UserError: they cannot be saved; the sentence says why.
    """
    try:
        from tlcl.reports.dashboard.workspace import build_workspace, save_workspace
    except ImportError:
        raise UserError(
            "views are saved in W&B with the package wandb-workspaces: pip install 'tlcl[dashboard]'"
        ) from None
    import wandb

    address = _server()
    if not reachable(address):
        raise UserError(f"W&B's server at {address} cannot be reached")
    memory = runs_dir / SAVED
    try:
        entity = entity or wandb.Api(timeout=SECONDS).default_entity
        if not entity:
            raise UserError("W&B does not say whose project it is; give --entity")
        place = f"{entity}/{project}"
        known = read_object(memory)
        before = known.get(place, {})
        saved = {
            view.name: save_workspace(build_workspace(view, entity, project), before.get(view.name))
            for view in VIEWS
        }
    except UserError:
        raise
    except Exception as error:  # whatever a server and its client may come up with
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"W&B did not save the views: {reason}") from None
    if runs_dir.is_dir():
        atomic_write_text(memory, json.dumps({**known, place: saved}, indent=2) + "\n")
    return saved
