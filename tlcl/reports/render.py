"""Plots and report of whatever kind of run a directory holds, from its records alone."""

from pathlib import Path

from omegaconf import OmegaConf

from tlcl.reports.adaptation import write_adaptation_report
from tlcl.reports.compare import save_compare_plots, write_compare_report
from tlcl.reports.continual import write_continual_report
from tlcl.reports.few_labels import save_few_label_plots, write_few_label_report
from tlcl.reports.finetune import write_report
from tlcl.reports.plots.adaptation import save_adaptation_plots
from tlcl.reports.plots.continual import save_continual_plots
from tlcl.reports.plots.training import save_plots
from tlcl.security.untrusted import recorded_config


def render(run_dir: Path) -> Path:
    """Draw the plots and write `report.html`; returns its path."""
    config = recorded_config(run_dir)
    if OmegaConf.select(config, "data.source") == "few_label_splits":
        save_few_label_plots(run_dir)
        return write_few_label_report(run_dir)
    if config.get("compare") is not None:
        save_compare_plots(run_dir)
        return write_compare_report(run_dir)
    if config.get("continual") is not None:
        save_continual_plots(run_dir)
        return write_continual_report(run_dir)
    if config.get("source") is not None:
        save_adaptation_plots(run_dir)
        return write_adaptation_report(run_dir)
    save_plots(run_dir)
    return write_report(run_dir)
