"""The dashboard's views as W&B workspaces, made with the package wandb-workspaces."""

from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from tlcl.reports.dashboard.plots import MOST_BARS
from tlcl.reports.dashboard.views import (
    Bars,
    Confusion,
    Lines,
    Matrix,
    Panel,
    Parallel,
    Pictures,
    Scatter,
    Value,
    View,
)
from tlcl.tracking.wandb_media import ACCURACY_MATRIX, CONFUSION_MATRIX, PLOTS

MOST_RUNS = 30  # in one panel
CHART = "wandb/confusion_matrix/v1"  # W&B's own, as `wandb.plot.confusion_matrix` names it
CHART_FIELDS = {name: name for name in ("Actual", "Predicted", "nPredictions")}


class SingleRuns(ws.Workspace):
    """Folds runs together in the table alone: in panels each stays a line or point of its own."""

    def _to_model(self) -> Any:
        model = super()._to_model()
        of_sections: list[Any] = [
            part.local_panel_settings for part in model.spec.section.panel_bank_config.sections
        ]
        for settings in (model.spec.section.settings, *of_sections):
            settings.use_runs_table_grouping_in_panels = False
        return model


def _value(value: Value) -> Any:
    return wr.Config(value.key) if value.where == "config" else wr.SummaryMetric(value.key)


def _column(value: Value) -> str:
    """As W&B names a column of its table of runs: it keeps nested configs below `.value`."""
    if value.where == "summary":
        return f"summary:{value.key}"
    group, *rest = value.key.split(".")
    return ".".join([f"config:{group}", "value", *rest])


def _panel(panel: Panel) -> Any:
    """The panel that shows in W&B what `panel` describes."""
    match panel:
        case Lines():
            log = panel.keys[0].startswith("lr/")
            return wr.LinePlot(
                title=panel.title, x=panel.x, y=list(panel.keys), log_y=log, max_runs_to_show=MOST_RUNS
            )
        case Bars():
            return wr.BarPlot(
                title=panel.title, metrics=[panel.key], max_bars_to_show=MOST_BARS, max_runs_to_show=MOST_BARS
            )
        case Scatter():
            return wr.ScatterPlot(title=panel.title, x=_value(panel.x), y=_value(panel.y), log_x=panel.x.log)
        case Parallel():
            columns = [
                wr.ParallelCoordinatesPlotColumn(_value(value), display_name=value.label, log=value.log)
                for value in panel.columns
            ]
            return wr.ParallelCoordinatesPlot(title=panel.title, columns=columns)
        case Pictures():
            return wr.MediaBrowser(title=panel.title, media_keys=[f"{PLOTS}/{panel.plot}"], num_columns=2)
        case Matrix():
            return wr.WeavePanelSummaryTable(table_name=ACCURACY_MATRIX)
        case Confusion():
            return wr.CustomChart(
                query={"summaryTable": {"tableKey": f"{CONFUSION_MATRIX}_table"}},
                chart_name=CHART,
                chart_fields=CHART_FIELDS,
                chart_strings={"title": panel.title},
            )


def build_workspace(view: View, entity: str, project: str) -> ws.Workspace:
    """The workspace, not yet saved."""
    filters = [expr.Metric("JobType") == view.job]
    settings = ws.RunsetSettings(
        filters=filters,
        groupby=[expr.Metric("Group")] if view.by_sweep else [],
        pinned_columns=[_column(value) for value in view.columns],
    )
    section = ws.Section(
        name=view.about,
        panels=[_panel(panel) for panel in view.panels],
        is_open=True,
        pinned=True,
        layout_settings=ws.SectionLayoutSettings(columns=3, rows=max(1, -(-len(view.panels) // 3))),
    )
    kind = SingleRuns if view.by_sweep else ws.Workspace
    return kind(
        entity=entity,
        project=project,
        name=view.name,
        sections=[section],
        settings=ws.WorkspaceSettings(x_axis="Step", max_runs=MOST_RUNS),
        runset_settings=settings,
    )


def save_workspace(workspace: ws.Workspace, before: str | None) -> str:
    """Save it, in the place of the view at the address `before` where that still exists; returns its address."""
    if before is not None:
        try:
            old = ws.Workspace.from_url(before)
        except Exception:  # deleted, or another user's: made anew
            old = None
        if old is not None:
            workspace._internal_name, workspace._internal_id = old._internal_name, old._internal_id
    return str(workspace.save().url)
