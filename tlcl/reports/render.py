"""Plots and report of whatever kind of run a directory holds, from its records alone."""

from pathlib import Path

from tlcl.config.kinds import kind_of, load
from tlcl.security.untrusted import recorded_config


def render(run_dir: Path) -> Path:
    """Draw the plots and write `report.html`; returns its path."""
    kind = kind_of(recorded_config(run_dir))
    load(kind.plots)(run_dir)
    page: Path = load(kind.page)(run_dir)
    return page
