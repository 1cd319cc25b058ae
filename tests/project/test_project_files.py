"""The workflow, the citation and the changelog say what is so."""

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import tlcl
from tests.conftest import ROOT
from tlcl.commands.program import COMMANDS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PATH = ROOT / ".github" / "workflows" / "ci.yml"
pytestmark = pytest.mark.skipif(not PATH.exists(), reason="a source archive has no workflow")


def workflow() -> dict[Any, Any]:
    return dict(yaml.safe_load(PATH.read_text()))


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_the_workflow_may_only_read_and_ends() -> None:
    flow = workflow()
    assert flow["permissions"] == {"contents": "read"}
    assert flow["concurrency"]["cancel-in-progress"] is True
    assert set(flow[True]) == {"push", "pull_request", "schedule"}  # YAML 1.1 takes `on` for true
    for job in flow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90
        assert "permissions" not in job
    assert "pull_request_target" not in PATH.read_text()
    assert "secrets." not in PATH.read_text()


def test_actions_are_pinned_to_commits_and_leave_no_credentials() -> None:
    used = re.findall(r"uses: (\S+)(.*)", PATH.read_text())
    assert len(used) == len([step for step in steps() if "uses" in step])
    for action, comment in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment)
    for step in steps():
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"] == {"persist-credentials": False}


def test_every_supported_python_is_tested() -> None:
    versions = workflow()["jobs"]["test"]["strategy"]["matrix"]["python"]
    wanted = SpecifierSet(PROJECT["project"]["requires-python"])
    assert versions == [f"3.{minor}" for minor in range(0, 14) if f"3.{minor}" in wanted]


def test_the_workflows_commands_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    scripts = [step["run"] for step in steps() if "run" in step]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert "${{" not in script  # what others can write (a branch's name) is not put into commands
    whole = "\n".join(scripts)
    assert set(re.findall(r"\bmake ([\w-]+)", whole)) <= targets
    assert set(re.findall(r"clean/bin/(tlcl[\w-]*)", whole)) <= set(PROJECT["project"]["scripts"])
    called = re.findall(r'clean/bin/tlcl" ([\w-]+)', whole)
    assert {"--version", "--help"} <= set(called) <= {"--version", "--help", *COMMANDS}
    assert {"pip_audit", "pip-audit"} <= set(re.findall(r"pip[_-]audit", whole))
    assert all((ROOT / name).is_file() for name in re.findall(r"--(?:constraint|requirement) (\S+)", whole))
    assert re.search(r"PYTHON\s*\?=", (ROOT / "Makefile").read_text())


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # all that the schema asks for
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == tlcl.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["authors"] == [{"name": "tlcl contributors"}]


def test_the_changelog_has_this_version_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert versions[0] == ("Unreleased", "")
    assert versions[1][0] == tlcl.__version__
    assert versions[1][1] == str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"])
    kinds = set(re.findall(r"^### (.+)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
