"""The workspaces of W&B show what the views describe."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tlcl.reports.dashboard.views import VIEWS, Matrix
from tlcl.reports.dashboard.workspace import build_workspace


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
