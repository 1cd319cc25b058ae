"""`tlcl dashboard`: runs beside each other, as views saved in W&B, or as a page on this machine.

With a W&B key the views are saved in the project, in the place of what was saved before, and their addresses
printed. Without one, or without a connection, the same is drawn from the records below RUNS_DIR as one HTML page.
"""

import logging
from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.config.schema import WandbConfig
from tlcl.errors import UserError, run_cli
from tlcl.system.figures import counted

log = logging.getLogger(__name__)


def _write_page(runs_dir: Path, out: Path) -> None:
    if not runs_dir.is_dir():
        raise UserError(f"RUNS_DIR={runs_dir} is no folder; give the one that holds your runs")
    from tlcl.reports.dashboard.page import write_dashboard

    try:
        count = write_dashboard(runs_dir, out)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from None
    if count == 0:
        raise UserError(f"there are no runs below RUNS_DIR={runs_dir}")
    print(f"dashboard of {counted(count, 'run')}: {out}")


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
        from tlcl.reports.dashboard.saved_views import save_views

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
