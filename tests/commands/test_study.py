"""The study in one command: resumes where it stopped, one report."""

from pathlib import Path

import pytest

from tlcl.commands.study import main
from tlcl.errors import Interrupted
from tlcl.sweeps import engine as steps
from tlcl.sweeps import study_plan as study
from tlcl.sweeps.study_plan import QUICK, Scale

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Scale:
    monkeypatch.setattr(study, "DEPTHS", (0, 4))
    shorter = ("model=small_cnn", "trainer.epochs=2", "data.val_size=30")
    return Scale((40,), (0,), 1, ("naive", "ncm"), ("source_only",), shorter)


def test_steps_have_directories_of_their_own(tmp_path: Path) -> None:
    planned = study.planned_runs(tmp_path, QUICK)
    assert len({step.path for step in planned}) == len(planned)
    assert all(tmp_path in step.path.parents for step in planned)
    grid = [step.config for step in planned if "grid" in step.path.parts]
    assert {(config.thaw["depth"], config.data.train_size) for config in grid} == {
        (depth, size) for depth in range(6) for size in QUICK.sizes
    }
    assert all(config.data.crop_padding == 0 for config in grid)


@pytest.mark.slow
def test_a_stopped_study_goes_on_and_ends_in_one_report(
    tmp_path: Path, tiny: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))
    finish, done = steps.run_or_resume, []

    def interrupted(config: object, path: Path) -> str | None:
        if len(done) == 2:
            raise Interrupted(path)
        done.append(path)
        return finish(config, path)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "run_or_resume", interrupted)
    with pytest.raises(Interrupted):
        study.study(tmp_path / "study", tiny)
    stamps = {path: (path / "summary.json").stat().st_mtime_ns for path in done}
    monkeypatch.setattr(steps, "run_or_resume", finish)
    report = study.study(tmp_path / "study", tiny)
    page = report.read_text()
    for title in ("How much should be retrained?", "What is forgotten", "What if the target has no labels?"):
        assert title in page
    assert page.count("data:image/png") >= 5
    assert "http" not in page.replace("http://www.w3.org", "")
    assert all((path / "summary.json").stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert (tmp_path / "study" / "grid" / "grid.csv").read_text().count("\n") == 3


def test_a_run_whose_loss_is_not_finite_does_not_end_the_study(
    tmp_path: Path, tiny: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(steps, "run_or_resume", lambda config, path: seen.append(path) or "the loss is not finite")
    page = study.study(tmp_path / "study", tiny).read_text()
    assert len(seen) == len(study.planned_runs(tmp_path / "study", tiny))
    assert "depth0_size40_seed0: the loss is not finite" in page


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", ["tlcl study", "--out", str(tmp_path / "file" / "study")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "--out=" in said
    assert len(said.strip().splitlines()) == 1
