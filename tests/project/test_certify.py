"""`make certify`: what is drawn, run anew and compared, by one run or by one of a figure's cases."""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import anew, cases, certify, depth_race
from benchmarks.anew import Check, Found, checks, measured_anew
from benchmarks.figure import Figure, Value
from benchmarks.register import names, read
from tlcl.errors import TrainingError, UserError

CERTIFIABLE = {"run": "thaw=head_only", "value": "test", "summary": "test_acc", "minutes": 2, "exact": True}
HERE = {"processor": "A", "threads": 2, "versions": {"torch": "2"}, "commit": "abc"}


def figure_of(name: str, minutes: float | None, data: dict[str, str] | None = None, **measured: object) -> Figure:
    how = None if minutes is None else {**CERTIFIABLE, "minutes": minutes}
    values = {"test": Value(0.5, "percent", 0.45, 0.55)}
    return Figure(name, ("tlcl train",), data=data or {}, values=values, measured=measured, certify=how)


def check_of(figure: Figure) -> Check:
    (found,) = checks([figure], 60, 0)
    return found


def found(value: float) -> dict[str, Found]:
    return {"test": Found(value, repr(value))}


def test_what_fits_is_drawn() -> None:
    figures = [figure_of(str(number), minutes) for number, minutes in enumerate((1, 2, 3, 90, None))]
    able = checks(figures, 60, 0)
    assert [one.figure.name for one in able] == ["0", "1", "2"]
    assert len(certify.drawn(able, 0.2, 60, 0)) == 1
    assert {certify.drawn(able, 0.2, 60, seed)[0].figure.name for seed in range(20)} == {"0", "1", "2"}
    assert sum(one.minutes for one in certify.drawn(able, 1.0, 4, 0)) <= 4


def test_equal_to_the_bit_only_on_the_same_machine() -> None:
    here = check_of(figure_of("one", 1, processor="A", threads=2, versions={"torch": "2"}))
    there = check_of(figure_of("one", 1, processor="B", threads=2, versions={"torch": "2"}))
    assert certify.judged(here, found(0.5), HERE)["holds"]
    assert not certify.judged(here, found(0.5000001), HERE)["holds"]
    assert certify.judged(there, found(0.5000001), HERE)["holds"]
    more = HERE | {"versions": {"torch": "2", "avalanche-lib": "0.6"}}  # a package that the figure does not know
    assert certify.judged(here, found(0.5), more)["rule"] == "equal to the bit"
    other = HERE | {"versions": {"torch": "3"}}
    assert certify.judged(here, found(0.5), other)["rule"] == "within the interval"
    assert certify.judged(there, found(0.54), HERE)["rule"] == "within the interval"
    assert not certify.judged(there, found(0.56), HERE)["holds"]
    assert not certify.judged(there, {}, HERE)["holds"]
    assert not certify.judged(there, None, HERE)["holds"]


CASE = {
    "tested": 8, "measured": {"date": "2026-01-02", "commit": "abc", "processor": "A", "threads": 2,
                              "versions": {"torch": "2"}},
    "settings": {"head": {"right": "f0", "acc": 0.5, "seconds": 30.0},
                 "all": {"right": "fc", "acc": 0.75, "seconds": 90.0}},
}  # fmt: skip
SHORT = {**CASE, "settings": {"head": {"right": "f0", "acc": 0.5, "seconds": 0.0}}}


@pytest.fixture
def of_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    monkeypatch.setattr(anew, "CASES", tmp_path)
    known = {"A, long": CASE, "A, short": SHORT, "B, other": SHORT, "A, distances": {"mmd": {}}}
    lines = [json.dumps({"case": name, **case}) for name, case in known.items()]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    how = {"module": "benchmarks.depth_claim", "cases": "cases.jsonl", "of": "A, ", "exact": True}
    return replace(figure_of("cases", None), certify=how)


def test_of_many_cases_one_is_drawn_that_fits(of_cases: Figure) -> None:
    drawn = [checks([of_cases], 60, seed)[0] for seed in range(20)]
    assert {(one.case, one.minutes) for one in drawn} == {("A, long", 4.0), ("A, short", 2.0)}  # 2 to prepare
    assert {one.case for seed in range(20) for one in checks([of_cases], 3, seed)} == {"A, short"}
    assert checks([of_cases], 1, 0) == []


def test_a_case_holds_where_every_answer_does(of_cases: Figure) -> None:
    check = Check(of_cases, 1, "A, long")
    same = {"head": Found(0.5, "f0"), "all": Found(0.75, "fc")}
    assert certify.judged(check, same, HERE)["holds"]
    other = certify.judged(check, same | {"all": Found(0.75, "f3")}, HERE)  # as many right, but others
    assert (other["holds"], other["value"], other["case"]) == (False, "all", "A, long")
    elsewhere = HERE | {"processor": "B"}
    assert certify.judged(check, same | {"all": Found(0.625, "f8")}, elsewhere)["holds"]
    assert not certify.judged(check, same | {"all": Found(0.125, "01")}, elsewhere)["holds"]
    assert not certify.judged(check, {"head": Found(0.5, "f0")}, HERE)["holds"]


def test_of_cases_that_are_raced_on_the_race_is_compared_too(of_cases: Figure, tmp_path: Path) -> None:
    race = {"record": {"chosen": "all", "settings": [{"gain": 0.25}]}, "seconds": 120.0}
    with (tmp_path / "cases.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"case": "race: A, long", **race}))
    drawn = [checks([of_cases], 60, seed)[0] for seed in range(20)]
    assert {(one.case, one.minutes) for one in drawn} == {("A, long", 6.0)}
    same = {"head": Found(0.5, "f0"), "all": Found(0.75, "fc"), "recommended": Found(1.0, "all, gains [0.25]")}
    assert certify.judged(drawn[0], same, HERE)["holds"]
    other = certify.judged(drawn[0], same | {"recommended": Found(1.0, "None, gains [0.25]")}, HERE)
    assert (other["holds"], other["value"]) == (False, "recommended")


def test_a_certificate_of_a_case_is_of_one_measurement(of_cases: Figure) -> None:
    made = certify.judged(Check(of_cases, 1, "A, long"), None, HERE)
    assert certify.stands(made, of_cases)
    assert not certify.stands(made | {"of": "2026-01-01, abc"}, of_cases)
    assert not certify.stands(made | {"case": "A, gone"}, of_cases)
    assert not certify.stands(made | {"case": ""}, of_cases)


@pytest.mark.parametrize("name", ["depth_claim_efficientnet_lite0", "depth_race", "adaptation_pacs_lite0"])
def test_the_cases_of_the_register_can_be_measured_anew(name: str) -> None:
    check = check_of(read(name))
    assert check.case
    assert check.registered()
    for name, (value, right) in check.registered().items():
        if name == "recommended":
            continue
        assert value.low is not None
        assert value.low <= value.value <= value.high  # type: ignore[operator]
        assert int(right, 16).bit_count() == round(value.value * check.kept()["tested"])


def test_other_cases_and_no_weights_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"--only='no' is none of the 60 cases; one is 'ResNet-18"):
        cases.named(depth_race.CASES, ["no"])
    for given in (None, Path("/nonexistent")):
        with pytest.raises(UserError, match=r"--weights=.* must be the file of ResNet-18's ImageNet weights"):
            cases.need_weights(argparse.Namespace(weights=given), True)
    cases.need_weights(argparse.Namespace(weights=None), False)


def test_a_command_is_run_anew(tmp_path: Path) -> None:
    """A whole run in a folder of its own: no run, cache or figure of before is looked at."""
    typed = "data=letters model=small_cnn model.weights=none data.train_size=60 trainer.epochs=1"
    figure = replace(figure_of("one", 1), certify=CERTIFIABLE | {"run": typed})
    first = measured_anew(check_of(figure), None, tmp_path)
    assert first["test"].value == json.loads((tmp_path / "run" / "summary.json").read_text())["test_acc"]
    assert measured_anew(check_of(figure), None, tmp_path / "again") == first
    with pytest.raises(TrainingError, match=r"one: .* ended with exit code 2"):
        measured_anew(check_of(replace(figure, certify=CERTIFIABLE | {"run": "nonsense=1"})), None, tmp_path / "no")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"other")
    with pytest.raises(UserError, match=r"a\.tar is not the file that one was measured on"):
        measured_anew(check_of(figure_of("one", 1, {"a.tar": "0" * 64})), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--share", "0"], "--share=0 must be above 0"),
        (["--share", "-3"], "--share=-3 must be above 0"),
        (["--minutes", "0"], "no figure is measured anew within --minutes=0"),
        (["--data", "/nonexistent"], "--data=/nonexistent is not a folder"),
    ],
)
def test_a_draw_that_cannot_be_is_one_sentence(
    typed: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(certify.DATA, "")
    options = certify.parser().parse_args(typed)
    assert typed[0] == "--data" or options.data is None
    with pytest.raises(UserError, match=re.escape(words)):
        certify.chosen(options)


def test_a_command_that_fails_does_not_hold_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "CERTIFIED", tmp_path)
    monkeypatch.setattr(certify, "PAGE", tmp_path / "page.md")
    figure = replace(figure_of("one", 1), certify=CERTIFIABLE | {"run": "nonsense=1"})
    monkeypatch.setattr(certify, "names", lambda: ["one"])
    monkeypatch.setattr(certify, "read", lambda _: figure)
    assert not certify.certified(check_of(figure), None, HERE | {"commit": "abc"})
    assert "| one | test | 0.5000 | none | within the interval | **no** |" in (tmp_path / "page.md").read_text()
    assert json.loads((tmp_path / "one.json").read_text())["holds"] is False


def test_a_certificate_is_of_one_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = read(names()[0])
    monkeypatch.setattr(certify, "CERTIFIED", tmp_path)
    kept = {"figure": figure.name, "registered": 0.5, "measured": 0.5, "rule": "equal to the bit", "holds": True,
             "date": "2026-01-02", "commit": "abc", "processor": "A"}  # fmt: skip
    of = f"{figure.measured.get('date')}, {figure.measured.get('commit')}"
    for written, said in ((of, "yes |"), ("2026-01-01, old", "yes, of an earlier measurement |")):
        (tmp_path / "one.json").write_text(json.dumps(kept | {"of": written}))
        assert said in certify.page()


def test_the_page_of_what_was_certified_is_up_to_date() -> None:
    assert certify.PAGE.read_text() == certify.page()
