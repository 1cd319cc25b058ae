"""The engine of many runs: what is done, what failed, how long it takes, one table; alone and in processes."""

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.conftest import FAST, ROOT, composed, go
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.errors import Interrupted, Stopped, TrainingError, UserError
from tlcl.extensions import allow
from tlcl.sweeps import engine
from tlcl.sweeps.engine import PlannedRun, failures, fault, run_plan
from tlcl.sweeps.progress import in_words, seconds_left
from tlcl.tracking.finished_run import BEGUN, COMPLETE, FAILURE, MISSING, FinishedRun
from tlcl.tracking.sweep_records import RunRecord

CONFIG = parse_config(composed_config(["logger=none"]))


@dataclass(frozen=True, eq=False)
class Scripted:
    """An entry of a plan that does what its text says, in this process or another."""

    path: Path
    script: str = "write"
    weight: float = 1.0
    config: Config | None = field(default_factory=lambda: CONFIG)
    title: str = ""

    @property
    def failed(self) -> Path:
        return self.path.with_suffix(".failed")

    @property
    def done(self) -> bool:
        return (self.path / "done").is_file()

    def perform(self) -> str | None:
        self.path.mkdir(exist_ok=True)
        with open(self.path.parent / "order.txt", "a") as order:
            order.write(f"{self.path.name}\n")
        if self.script == "diverge":
            return "the loss is not finite"
        if self.script == "mistake":
            raise UserError("the data are not there")
        if self.script == "unexpected":
            raise ZeroDivisionError("by zero")
        if self.script == "full":
            raise Stopped("the disk is full", self.path)
        if self.script == "interrupt":
            raise KeyboardInterrupt
        if self.script == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        (self.path / "done").write_text(str(os.getpid()))
        return None

    def row(self, number: int, root: Path) -> RunRecord:
        known = json.loads(self.failed.read_text()) if self.failed.is_file() else {}
        status = COMPLETE if self.done else FAILURE if known else MISSING
        summary = {"seconds": 2.0, "job": "finetune", "test_acc": 0.5} if self.done else {}
        settings = {"depth": number, "seed": 0}
        return RunRecord(number, self.path.relative_to(root), settings, status, known.get("sentence", ""), summary)


def plan_of(root: Path, *scripts: str) -> list[Scripted]:
    return [Scripted(root / f"{place}", script) for place, script in enumerate(scripts)]


def order(root: Path) -> list[str]:
    return (root / "order.txt").read_text().split()


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_failures_are_recorded_and_what_is_done_is_not_done_again(tmp_path: Path, jobs: int) -> None:
    plan = plan_of(tmp_path, "write", "diverge", "mistake", "unexpected", "write")
    rows = run_plan(tmp_path, plan, "some", jobs=jobs, progress=False)
    assert sorted(order(tmp_path)) == ["0", "1", "2", "3", "4"]
    assert [row.status for row in rows] == [COMPLETE, FAILURE, FAILURE, FAILURE, COMPLETE]
    assert failures(rows) == {
        "1": "the loss is not finite", "2": "the data are not there", "3": "ZeroDivisionError: by zero",
    }  # fmt: skip
    assert "Traceback" in json.loads(plan[3].failed.read_text())["traceback"]
    end = fault(tmp_path, plan, rows)
    assert isinstance(end, TrainingError)
    assert str(end) == "3 of 5 runs failed: the data are not there; try them again with the same command"
    table = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [row["folder"] for row in table] == ["0", "1", "2", "3", "4"]
    assert table[1] == {
        "folder": "1", "depth": "1", "seed": "0", "status": "failed", "reason": "the loss is not finite",
        "seconds": "", "validation": "", "test": "",
    }  # fmt: skip
    assert (table[4]["seconds"], table[4]["test"]) == ("2.0", "0.5")

    (tmp_path / "order.txt").unlink()
    mended = plan_of(tmp_path, "write", "diverge", "write", "write", "write")
    rows = run_plan(tmp_path, mended, "some", jobs=jobs, progress=False)
    assert sorted(order(tmp_path)) == ["1", "2", "3"]
    assert failures(rows) == {"1": "the loss is not finite"}
    assert not mended[3].failed.exists()
    assert fault(tmp_path, mended, rows) is None  # a loss that is not finite is a result


def test_only_mistakes_end_as_a_mistake(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "mistake", "diverge")
    rows = run_plan(tmp_path, plan, "some", progress=False)
    end = fault(tmp_path, plan, rows)
    assert isinstance(end, UserError)
    assert str(end).startswith("2 of 2 runs failed")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_plan(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(Stopped, match="the disk is full; give the same command again"):
        run_plan(tmp_path, plan_of(tmp_path, "full", *["write"] * 9), "some", jobs=jobs, progress=False)
    assert len(order(tmp_path)) < 10
    assert not [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]


def test_ctrl_c_ends_the_plan(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="give the same command again"):
        run_plan(tmp_path, plan_of(tmp_path, "write", "interrupt", "write"), "some", progress=False)
    assert order(tmp_path) == ["0", "1"]


@pytest.mark.slow
def test_a_process_that_dies_costs_its_task_alone_and_a_comparison_waits_for_its_runs(tmp_path: Path) -> None:
    whole = Scripted(tmp_path / "compared")
    whole.path.mkdir()
    parts = [Scripted(whole.path / name, script) for name, script in (("a", "die"), ("b", "write"), ("c", "write"))]
    rows = run_plan(tmp_path, [whole, *parts], "some", jobs=2, progress=False)
    assert failures(rows) == {"a": "its process ended by SIGKILL"}
    assert [row.status for row in rows] == [COMPLETE, FAILURE, COMPLETE, COMPLETE]
    assert sorted(order(whole.path)) == ["a", "b", "c"]
    ended = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("done")}
    assert max(ended, key=ended.__getitem__) == whole.path / "done"
    assert str(os.getpid()) not in [path.read_text() for path in ended]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_run_is_said_when_it_begins(tmp_path: Path, jobs: int, caplog: pytest.LogCaptureFixture) -> None:
    plan = [Scripted(tmp_path / name, title=f"method={name} seed=1") for name in "abc"]
    with caplog.at_level(logging.INFO):
        run_plan(tmp_path, plan[:1], "some", progress=False)
        run_plan(tmp_path, plan, "some", jobs=jobs, progress=False)
    assert caplog.messages == [
        "run 1 of 1: method=a seed=1",
        "run 2 of 3, less than a minute left: method=b seed=1",
        "run 3 of 3, less than a minute left: method=c seed=1",
    ]


def test_the_time_that_is_left() -> None:
    assert seconds_left([], [1.0], 1) is None
    assert seconds_left([(1, 10.0), (3, 30.0)], [2.0, 4.0], 1) == 60  # ten seconds for each unit of weight
    assert seconds_left([(1, 10.0)], [2.0, 2.0], 2) == 20
    assert seconds_left([(1, 10.0)], [5.0, 1.0], 2) == 50  # the longest is not divided
    assert seconds_left([(1, 10.0)], [], 1) == 0
    assert [in_words(value) for value in (None, 0.0, 59.0, 600.0, 36000.0)] == [
        "", "", "less than a minute left", "about 10 min left", "about 10 h left",
    ]  # fmt: skip


def test_how_a_run_among_many_stands(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    assert run.status == MISSING
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert run.status == BEGUN
    (tmp_path / "failed.json").write_text(json.dumps({"kind": "mistake", "sentence": "no data"}))
    assert (run.status, run.failure["sentence"]) == (FAILURE, "no data")
    (tmp_path / "summary.json").write_text(json.dumps({"status": "complete"}))
    assert run.status == COMPLETE
    assert not PlannedRun(tmp_path, parse_config(composed(tmp_path)), {}).done  # its report was never drawn


def test_a_comparison_of_the_version_before_has_no_number_of_jobs(tmp_path: Path) -> None:
    config = composed(tmp_path, "+experiment=continual_compare")
    del config.compare["jobs"]
    assert parse_config(config).compare.jobs == 1  # type: ignore[union-attr]


def test_several_at_once_need_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "launched_as", lambda: (0, 2))
    with pytest.raises(UserError, match="a launcher started 2"):
        run_plan(tmp_path, plan_of(tmp_path, "write", "write"), "some", jobs=2)


COMPARISON = [
    *FAST, "+experiment=continual_compare", "model=small_cnn", "thaw.depth=4", "trainer.epochs=60",
    "compare.methods=[naive,er]", "compare.seeds=[0,1]", "compare.jobs=2", "run_dir=compared",
]  # fmt: skip


def begin_comparison(tmp_path: Path) -> tuple["subprocess.Popen[bytes]", list[psutil.Process]]:
    """A comparison two of whose runs train at once, and its processes."""
    environment = {**os.environ, "TLCL_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tlcl.train", *COMPARISON], cwd=tmp_path, env=environment, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("compared/runs/*/metrics.jsonl"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process, psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=40)[1]


@pytest.mark.slow
def test_kill_of_the_first_leaves_no_process(tmp_path: Path) -> None:
    process, others = begin_comparison(tmp_path)
    assert len(others) >= 2
    process.kill()
    process.wait()
    assert all_gone(others)
    begun = list(tmp_path.glob("compared/runs/*/config.yaml"))
    assert len(begun) == 2
    assert not list(tmp_path.glob("compared/runs/*/failed.json"))  # nothing failed: it was ended


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_all_processes_with_one_sentence(tmp_path: Path, stop: signal.Signals, code: int) -> None:
    process, others = begin_comparison(tmp_path)
    process.send_signal(stop)
    said = process.communicate(timeout=60)[1].decode().strip().splitlines()[-1]
    assert process.returncode == code
    assert said.endswith("with every finished epoch saved; resume it with +resume=compared")
    assert all_gone(others)


@pytest.mark.slow
def test_runs_at_once_are_those_one_after_another(
    tmp_path: Path, train_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = [item for item in COMPARISON if not item.startswith(("compare.jobs", "run_dir", "trainer.epochs"))]
    for jobs in (1, 2):
        done = train_cli(*common, "trainer.epochs=1", f"compare.jobs={jobs}", f"run_dir=with{jobs}")
        assert done.returncode == 0, done.stderr
    found = tmp_path.glob("with1/runs/*/model.safetensors")
    models = sorted(path.relative_to(tmp_path / "with1") for path in found)
    assert len(models) == 4
    for model in models:
        assert (tmp_path / "with1" / model).read_bytes() == (tmp_path / "with2" / model).read_bytes()
    table = list(csv.DictReader((tmp_path / "with2" / "runs.csv").open()))
    assert [(row["method"], row["seed"], row["status"]) for row in table] == [
        ("naive", "0", "complete"), ("er", "0", "complete"), ("naive", "1", "complete"), ("er", "1", "complete"),
    ]  # fmt: skip
    assert "method=naive" in (tmp_path / "with2" / "compare.log").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("own_account")
def test_a_users_own_method_is_known_in_other_processes(tmp_path: Path) -> None:
    """Its keys are a dataclass of the user's file, which a process runs before it is given a config with them."""
    own = allow(ROOT / "docs" / "examples" / "my_method.py")
    config = composed(
        tmp_path, "+experiment=continual_compare", *FAST, "model=small_cnn", "trainer.epochs=1",
        "compare.methods=[l2,'l2 strength=2']", "compare.seeds=[0]", "compare.jobs=2", f"extend=['{own}']",
    )  # fmt: skip
    path = go(config)
    rows = list(csv.DictReader((path / "runs.csv").open()))
    assert [row["status"] for row in rows] == ["complete", "complete"]


LOCAL = """
from dataclasses import dataclass
from tlcl.config import MethodConfig
from tlcl.continual.methods.base import Method
from tlcl.extend import register_method

def add(name):
    @dataclass
    class Keys(MethodConfig):
        strength: float = 1.0
    register_method(name, Keys, Method)

add("mine")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("own_account")
def test_keys_that_python_cannot_pickle_travel_too(tmp_path: Path) -> None:
    (tmp_path / "local.py").write_text(LOCAL)
    config = composed(
        tmp_path, "+experiment=continual_compare", *FAST, "model=small_cnn", "trainer.epochs=1",
        "compare.seeds=[0]", "compare.methods=[mine,'mine strength=2']", "compare.jobs=2",
        f"extend=['{allow(tmp_path / 'local.py')}']",
    )  # fmt: skip
    rows = list(csv.DictReader((go(config) / "runs.csv").open()))
    assert [row["status"] for row in rows] == ["complete", "complete"]


def test_a_fault_leaves_a_page_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, the comparison's page is drawn from what there is; the next time only that is run."""
    config = composed(
        tmp_path, "+experiment=continual_compare", *FAST, "model=small_cnn", "trainer.epochs=1",
        "compare.methods=[naive,ncm]", "compare.seeds=[0]",
    )  # fmt: skip
    original = engine.run_or_resume

    def broken(config: Config, path: Path) -> str | None:
        if path.name == "ncm_seed0":
            raise UserError("the data are not there")
        return original(config, path)

    monkeypatch.setattr(engine, "run_or_resume", broken)
    with pytest.raises(UserError, match="1 of 2 runs failed: the data are not there; try them again with"):
        go(config)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "ncm_seed0 stopped: the data are not there" in page
    assert "This comparison is not finished" in page
    assert FinishedRun(tmp_path / "run").status == FAILURE
    monkeypatch.undo()
    go(config)
    assert FinishedRun(tmp_path / "run").complete
    assert "stopped: the data" not in (tmp_path / "run" / "report.html").read_text()
