"""`tlcl dashboard`: runs beside each other, as views saved in W&B, or as a page on this machine.

With a W&B key the views are saved in the project, in the place of what was saved before, and their addresses
printed. Without one, or without a connection, the same is drawn from the records below RUNS_DIR as one HTML page.
"""

import json
import logging
import urllib.error
import urllib.request
from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.config.schema import WandbConfig
from tlcl.errors import UserError, run_cli
from tlcl.system.files import atomic_write_text

log = logging.getLogger(__name__)
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
    from tlcl.reports.dashboard.views import VIEWS
    from tlcl.tracking.records import read_object

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


def _write_page(runs_dir: Path, out: Path) -> None:
    if not runs_dir.is_dir():
        raise UserError(f"RUNS_DIR={runs_dir} is no folder; give the one that holds your runs")
    from tlcl.reports.dashboard.page import write_dashboard

    try:
        count = write_dashboard(runs_dir, out)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from None
    if count == 0:
        out.unlink()
        raise UserError(f"there are no runs below RUNS_DIR={runs_dir}")
    print(f"dashboard of {count} runs: {out}")


def _program() -> None:
    parser = command_parser(__doc__, "runs/sweeps", "--entity my-team --project digits")
    parser.add_argument(
        "runs_dir", metavar="RUNS_DIR", nargs="?", type=Path, default=Path("runs"), help="default: runs"
    )
    parser.add_argument("--entity", help="W&B user or team; default: the key's own")
    parser.add_argument("--project", default=WandbConfig.project, help="W&B project, default %(default)s")
    parser.add_argument(
        "--out", type=Path, help="the page, written with a key too; default RUNS_DIR/dashboard.html"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from tlcl.tracking.wandb import resolve_mode

    wanted = options.out is not None
    if resolve_mode("auto") == "online":
        try:
            for name, address in save_views(options.entity, options.project, options.runs_dir).items():
                print(f"{name}: {address}")
        except UserError as error:
            log.warning("warning: %s; the page is written instead", error)
            wanted = True
    else:
        wanted = True
    if wanted:
        _write_page(options.runs_dir, options.out or options.runs_dir / "dashboard.html")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
