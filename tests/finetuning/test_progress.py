"""In a terminal: a line an epoch, and one bar for the whole run below them."""

import logging
import re
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, configured, kill_at_batch
from tlcl.finetuning import progress

pytestmark = pytest.mark.usefixtures("undrawn")
SHORT = ["model=small_cnn", "trainer.epochs=3", "thaw=milestones", "+thaw.0=[head]", "+thaw.2=[layer3]",
         "trainer.progress=true"]  # fmt: skip
BAR = re.compile(r"(\w[\w ]*?) +\d+% \|.*?\| (\d+)/(\d+) steps")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines as they stand there at the end."""
        lines, row, column = [""], 0, 0
        for sign in re.findall(r"\x1b\[A|[\s\S]", self.getvalue()):
            if sign == "\x1b[A":
                row -= 1
            elif sign == "\r":
                column = 0
            elif sign == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row][:column].ljust(column) + sign + lines[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]

    def bars(self) -> list[tuple[str, int, int]]:
        """(label, steps done, steps in all), each time a bar was drawn."""
        return [(label, int(done), int(total)) for label, done, total in BAR.findall(self.getvalue())]


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """One of 80 columns; no fixture, as pytest puts its own output in place after those."""
    monkeypatch.setenv("COLUMNS", "81")  # tqdm leaves the last one free
    monkeypatch.setenv("LINES", "40")
    there = Terminal()
    monkeypatch.setattr(sys, "stdout", there)
    options = progress._Bar.__init__
    monkeypatch.setattr(progress._Bar, "__init__", lambda self, **own: options(self, mininterval=0, **own))
    return there


def epochs_on(screen: list[str]) -> list[str]:
    return [line for line in screen if "epoch" in line]


def test_one_bar_for_all_epochs_below_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    go(composed(tmp_path, *SHORT))
    screen, bars = terminal.screen(), terminal.bars()
    assert [line[:11] for line in epochs_on(screen)] == ["epoch   0  ", "epoch   1  ", "epoch   2  "]
    for line in epochs_on(screen):
        assert re.fullmatch(r"epoch +\d  train loss [\d.]+ acc [\d.]+  val loss [\d.]+ acc [\d.]+ +[\d.]+ s", line)
        assert len(line) <= 80
    assert [line for line in screen if line.startswith("training")] == ["training head", "training layer3, head"]
    assert {total for _, _, total in bars} == {9}
    done = [done for _, done, _ in bars]
    assert done == sorted(done)  # it never begins anew
    assert set(done) == set(range(10))
    assert "steps" not in "".join(screen)  # in the end it is taken away
    assert "v_num" not in terminal.getvalue()


def test_a_resumed_run_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    config = composed(tmp_path, *SHORT)
    kill_at_batch(monkeypatch, 1, 1)
    with pytest.raises(Killed):
        go(config)
    assert "steps" not in "".join(terminal.screen())  # after a failure too
    first = len(terminal.bars())
    go(config)
    assert {total for _, _, total in terminal.bars()[first:]} == {6}


@pytest.mark.parametrize("method", ["naive", "slda", "joint"])
def test_one_bar_for_all_tasks(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    config = configured(tmp_path, method, "trainer.progress=true", "model=small_cnn", "data.batch_size=32")
    go(config)
    bars = terminal.bars()
    (total,) = {total for _, _, total in bars}
    assert list(dict.fromkeys(done for _, done, _ in bars)) == list(range(total + 1))
    numbers = (3,) if method == "joint" else (1, 2, 3)  # joint trains once, on everything
    assert list(dict.fromkeys(label for label, _, _ in bars)) == [f"task {number} of 3" for number in numbers]
    assert "steps" not in "".join(terminal.screen())


def test_a_line_of_the_log_does_not_end_on_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    shown = progress.RunProgress(True, steps=4)
    shown.step()
    logging.getLogger("tlcl").warning("warning: something")
    shown.step()
    assert terminal.screen()[0] == "warning: something"
    assert terminal.screen()[1].startswith("training  50% |")
    shown.close()
    assert terminal.screen() == ["warning: something", ""]
    assert logging.root.handlers == [handler]


def off() -> progress.RunProgress:
    return progress.RunProgress(False, steps=4)


def elsewhere() -> progress.RunProgress:
    """On another process of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "leads", lambda: False)
        return progress.RunProgress(True, steps=4)


def no_terminal() -> progress.RunProgress:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", StringIO())
        return progress.RunProgress(True, steps=4)


@pytest.mark.parametrize("made", [off, elsewhere, no_terminal])
def test_no_bar(made: Callable[[], progress.RunProgress], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    bar = made()
    bar.step()
    bar.close()
    assert terminal.getvalue() == ""


def test_lines_without_a_terminal_have_no_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(composed(tmp_path, *SHORT, "trainer.epochs=1", "~thaw.2"))
    printed = capsys.readouterr()
    assert "epoch   0  train loss" in printed.out
    assert "steps" not in printed.out + printed.err


def test_the_time_left_is_that_of_the_present_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 steps of a tenth of a second, then one of two: the 899 that are left take half an hour."""
    terminal = at_terminal(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.RunProgress(True, steps=1000)
    for trained, seconds, steps in (("head", 0.1, 100), ("layer4", 2.0, 50)):
        for _ in range(steps):
            now[0] += seconds
            shown.step(trained)
    left = re.findall(r"gone, ([\d:]+) left", terminal.getvalue())[-1]
    shown.close()
    minutes, _, seconds_left = left.partition(":")
    assert 27 * 60 < 60 * int(minutes) + int(seconds_left) < 30 * 60
