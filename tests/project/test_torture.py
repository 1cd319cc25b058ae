"""Representatives of the campaign of faults, `make torture`, and its own judgement."""

import contextlib
import csv
import importlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from torture.__main__ import all_cases, attempt, campaign
from torture.case import Broken, Case, Skipped
from torture.expect import nothing_lost, sentence
from torture.same import same_run
from torture.table import csv_text, markdown
from torture.workplace import Finished, Shared, Workplace

CASES = {case.name: case for case in all_cases(2, seed=0)}
IN_PROCESS = (
    "a text named .jpg", "NaN among the pixels", "unreadable, a newline in the name", "an empty class folder",
    "labels missing", "one class only", "a class missing in the test folder",
)  # fmt: skip
PROCESSES = (
    "kill 2: er", "SIGINT in training: fine-tuning", "SIGTERM in training: fine-tuning",
    "disk full: fine-tuning, 70.0%",
)  # fmt: skip


class InProcess(Workplace):
    """Programs are called as functions: nothing is started."""

    def run(self, module: str, *arguments: str, **options: object) -> Finished:
        assert not options
        out, err, code = io.StringIO(), io.StringIO(), 0
        before, sys.argv = sys.argv, [module, *arguments]
        try:
            with contextlib.chdir(self.path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                importlib.import_module(module).main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
        return Finished(code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("name", IN_PROCESS)
def test_in_this_process(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    assert not case.alone
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))
    assert case.check(InProcess(tmp_path / "place", Shared(tmp_path)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory.mktemp("torture"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_in_processes(name: str, shared: Shared) -> None:
    outcome = attempt(CASES[name], shared)
    if outcome.status == "skipped":
        pytest.skip(outcome.happened)
    assert outcome.status == "kept", outcome.happened


# --- the campaign's own judgement


def run_directory(root: Path) -> Path:
    (root / "checkpoints").mkdir(parents=True)
    torch.save({"epoch": 0, "state_dict": {"w": torch.zeros(64)}}, root / "checkpoints" / "last.ckpt")
    (root / "metrics.jsonl").write_text('{"epoch": 0, "val/acc": 0.5}\n')
    (root / "summary.json").write_text('{"test_acc": 0.5, "seconds": 3.0}')
    return root


def another_weight(run: Path) -> None:
    weights = torch.zeros(64)
    weights[7] = -0.0  # equal as a number, not to the bit
    torch.save({"epoch": 0, "state_dict": {"w": weights}}, run / "checkpoints" / "last.ckpt")


CHANGES: dict[str, Callable[[Path], object]] = {
    "last.ckpt": another_weight,
    "metrics.jsonl": lambda run: (run / "metrics.jsonl").write_text('{"epoch": 0, "val/acc": 0.500001}\n'),
    "summary.json": lambda run: (run / "summary.json").write_text('{"test_acc": 0.4, "seconds": 3.0}'),
    ".x.7.partial": lambda run: (run / ".x.7.partial").write_text(""),
}


@pytest.mark.parametrize("what", CHANGES)
def test_runs_that_differ_are_told_apart(what: str, tmp_path: Path) -> None:
    one, two = run_directory(tmp_path / "one"), run_directory(tmp_path / "two")
    (two / "summary.json").write_text('{"test_acc": 0.5, "seconds": 4.0}')
    same_run(one, two)
    CHANGES[what](two)
    with pytest.raises(Broken, match=what):
        same_run(one, two)


@pytest.mark.parametrize(
    ("code", "err"),
    [
        (1, "error: run_dir=x cannot be written\n"),
        (2, "stopped: run_dir=x cannot be written\n"),
        (2, "Traceback (most recent call last):\nerror: run_dir=x cannot be written\n"),
        (2, "error: run_dir=x cannot be written\nerror: run_dir=x cannot be written\n"),
        (2, "error: run_dir=x cannot be written\nand so on\n"),
        (2, "error: run_dir=y cannot be written\n"),
        (2, ""),
    ],
)
def test_what_is_no_sentence(code: int, err: str) -> None:
    assert "run_dir=x" in sentence(Finished(2, "", "error: run_dir=x cannot be written\n"), 2, "run_dir=x")
    with pytest.raises(Broken):
        sentence(Finished(code, "", err), 2, "run_dir=x")


@pytest.mark.parametrize("loss", ["a checkpoint cut short", "a line less", "half a file", "half a summary"])
def test_what_is_lost_is_seen(loss: str, tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run")
    nothing_lost(run)
    last = run / "checkpoints" / "last.ckpt"
    match loss:
        case "a checkpoint cut short":
            last.write_bytes(last.read_bytes()[:-9])
        case "a line less":
            (run / "metrics.jsonl").write_text("")
        case "half a file":
            (run / ".report.html.12.partial").write_text("<p>")
        case "half a summary":
            (run / "summary.json").write_text(json.dumps({"test_acc": 1.0})[:-3])
    with pytest.raises(Broken):
        nothing_lost(run)


def test_a_broken_case_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(place: Workplace) -> str:
        raise Broken("it is gone | for good\n")

    def unable(place: Workplace) -> str:
        raise Skipped("no mounts")

    def wrong(place: Workplace) -> str:
        return str(1 / 0)

    checks = {"a": broken, "b": unable, "c": wrong, "d": lambda place: "well"}
    cases = [Case("Faults", name, "done", "promised", check) for name, check in checks.items()]
    outcomes = campaign(cases, tmp_path, jobs=2)
    assert [one.status for one in outcomes] == ["broken", "skipped", "broken", "kept"]
    assert "ZeroDivisionError" in outcomes[2].happened
    page = markdown(outcomes, "make torture", 60.0)
    assert "4 faults: 1 kept, 2 broken, 1 skipped" in page
    assert r"it is gone \| for good |" in page
    rows = list(csv.reader(csv_text(outcomes).splitlines()))
    assert [row[4] for row in rows] == ["status", "broken", "skipped", "broken", "kept"]
    assert (tmp_path / "a").is_dir()
    assert not (tmp_path / "d").exists()


def test_cases_have_names_of_their_own() -> None:
    cases = all_cases(50, seed=0)
    assert len({case.name for case in cases}) == len(cases)
    assert sum(case.family == "kill -9" for case in cases) == 50
