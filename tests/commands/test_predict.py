import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import composed, go
from tlcl.commands import predict as module
from tlcl.config.parse import parse_config
from tlcl.data.images.user_images import find_images
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError, run_cli
from tlcl.jobs import continual
from tlcl.jobs.classified import Classified
from tlcl.jobs.finetune import run
from tlcl.jobs.finished import classify, load_run
from tlcl.prefix_cache.activations import FrozenBlocks, Keeping
from tlcl.tracking.records import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    directory = RunDirectory(path / "run", resume=False)
    run(parse_config(composed(path, "data.train_size=600", "thaw.depth=5", "trainer.epochs=3")), directory)
    directory.close()
    return path / "run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty test digits, enlarged as a user's might be, and files that are no images."""
    source = load_digits().test
    for index in range(20):
        image = Image.fromarray(source.images[index, 0].numpy()).resize((8 + index, 8 + index))
        image.convert("RGB" if index % 2 else "L").save(tmp_path / f"{index:02d}_{int(source.labels[index])}.png")
    (tmp_path / ".hidden").write_text("x")
    return tmp_path


def spoil(folder: Path) -> None:
    (folder / "text.jpg").write_text("no image")
    whole = next(folder.glob("00_*.png"))
    (folder / "cut.png").write_bytes(whole.read_bytes()[:60])
    (folder / "empty.png").touch()


def test_predictions_of_enlarged_test_images(trained: Path, folder: Path) -> None:
    table = classify(trained, [folder], batch_size=7, skip_bad=False, progress=False).csv()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 20
    right = sum(row["prediction"] == Path(row["file"]).stem.split("_")[1] for row in rows)
    assert right >= 12  # chance gives 2
    for row in rows:
        probabilities = {name[2:-1]: float(value) for name, value in row.items() if name.startswith("p(")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert max(probabilities, key=lambda name: probabilities[name]) == row["prediction"]
        assert float(row["confidence"]) == max(probabilities.values())


def test_images_behind_linked_folders_are_found_once(folder: Path) -> None:
    outside = folder / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "below" / "x.png").touch()
    asked = folder / "asked"
    asked.mkdir()
    (asked / "linked").symlink_to(outside)
    (asked / "loop").symlink_to(asked)
    (outside / "below" / "back").symlink_to(folder)
    (asked / "broken.png").symlink_to("nowhere.png")
    assert find_images([asked]) == [asked / "broken.png", asked / "linked" / "below" / "x.png"]
    (asked / "broken.png").unlink()
    (asked / "linked").unlink()
    with pytest.raises(UserError, match="no image files"):
        find_images([asked])


def test_bad_files_are_all_named_or_left_out(
    trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder)
    with pytest.raises(UserError) as caught:
        classify(trained, [folder], batch_size=8, skip_bad=False, progress=False).csv()
    assert all(name in str(caught.value) for name in ("text.jpg", "cut.png", "empty.png", "--skip-bad"))
    assert "\n" not in str(caught.value)
    table = classify(trained, [folder], batch_size=8, skip_bad=True, progress=False).csv()
    assert len(table.splitlines()) == 21
    assert "text.jpg" in capsys.readouterr().err


def test_a_tar_file_is_what_it_holds(trained: Path, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for path in sorted(folder.glob("*.png")):
            archive.add(path, f"some folder/{path.name}")
    options = {"batch_size": 7, "skip_bad": False, "progress": False}
    ours, theirs = (
        list(csv.DictReader(io.StringIO(classify(trained, paths, **options).csv())))  # type: ignore[arg-type]
        for paths in ([packed], sorted(folder.glob("*.png")))
    )
    assert [row["file"] for row in ours] == [str(packed / "some folder" / Path(row["file"]).name) for row in theirs]
    assert [row["p(3)"] for row in ours] == [row["p(3)"] for row in theirs]
    packed.write_bytes(packed.read_bytes()[:900])
    with pytest.raises(UserError, match="cannot be read as a tar file"):
        classify(trained, [packed], **options).csv()  # type: ignore[arg-type]


def test_command_line(
    trained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "table.csv"
    existing = sorted(folder.glob("*.png"))[0]
    monkeypatch.setattr("sys.argv", ["tlcl predict", str(trained), str(existing), "--csv", str(out)])
    module.main()
    assert len(out.read_text().splitlines()) == 2
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["tlcl predict", str(trained), str(existing)])
    module.main()
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["file", "prediction", "confidence", "next", "best"]
    assert line.split()[:3] == [str(existing), row["prediction"], f"{100 * float(row['confidence']):.1f}"]
    for arguments, part in (
        ([str(tmp_path), str(existing)], "no finished tlcl run"),
        ([str(tmp_path), str(existing), "--coverage", "0.9"], "no finished tlcl run"),
        ([str(trained), str(existing), "--coverage", "1"], "--coverage=1 must be above 0 and below 1"),
        ([str(trained), str(existing), "--coverage", "nan"], "--coverage=nan must be above 0 and below 1"),
        ([str(trained), str(existing), "--coverage", "0.99"], "40 held-out images can promise; ask for 0.975"),
        ([str(trained), "/nowhere.png"], "/nowhere.png"),
        ([str(trained), str(existing), "--batch-size", "0"], "--batch-size"),
    ):
        monkeypatch.setattr("sys.argv", ["tlcl predict", *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_cli(module._program)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert part in error
        assert len(error.strip().splitlines()) == 1


def test_a_directory_without_a_model_says_what_to_give_instead(trained: Path, tmp_path: Path) -> None:
    def sentence(path: Path) -> str:
        with pytest.raises(UserError, match="is no finished tlcl run: it has no ") as raised:
            load_run(path)
        return str(raised.value).partition("it has no ")[2]

    many, stopped, asks, odd = (tmp_path / name for name in ("many", "stopped run", "asks", "odd"))
    (odd / "hub").mkdir(parents=True)
    (odd / "up").symlink_to(tmp_path, target_is_directory=True)
    (odd / "hub" / "model.safetensors").touch()  # of another program
    shutil.copytree(trained, many / "runs" / "er_seed0")
    shutil.copytree(trained, stopped)
    (stopped / "summary.json").unlink()
    (stopped / "model.safetensors").unlink()
    asks.mkdir()
    (asks / "config.yaml").write_text(OmegaConf.to_yaml(composed(tmp_path, "optim.head=fitted", "depth=race")))
    assert sentence(many) == f"config.yaml; it holds runs, give one of them, such as {many}/runs/er_seed0"
    assert sentence(stopped) == f"model.safetensors; finish it with tlcl train '+resume=\"{stopped}\"'"
    resume = f"labels.json; finish it with tlcl train +resume={asks}"
    assert sentence(asks) == resume, "it recommends nothing yet"
    (asks / "summary.json").write_text('{"status": "complete", "job": "how_deep"}')
    assert sentence(asks) == (
        "labels.json; it asks how deep, and keeps no model: train one by the command that it recommends"
    )
    assert sentence(odd) == "config.yaml"
    (odd / "config.yaml").write_text("depth: 50")
    assert sentence(odd) == "labels.json", "no config of a run"
    assert sentence(tmp_path / "nowhere") == "config.yaml"


@pytest.mark.parametrize("job", ["finetune", "slda"])
def test_the_same_images_are_not_computed_twice(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    """Features of a frozen backbone are found by what they are of; the answers are those of the whole network."""
    tmp_path = tmp_path_factory.mktemp("run")
    if job == "finetune":
        path = go(composed(tmp_path, "thaw.depth=0", "trainer.epochs=1"), run)
    else:
        options = ["continual=class_incremental", f"method={job}", "trainer.select=last"]
        path = go(composed(tmp_path, *options), continual.run)
    first = classify(path, [folder], batch_size=7, skip_bad=False, progress=False).csv()
    monkeypatch.setattr(FrozenBlocks, "fill", lambda *_: pytest.fail("computed again"))
    assert classify(path, [folder], batch_size=7, skip_bad=False, progress=False).csv() == first
    monkeypatch.setattr(Keeping, "where", lambda *_: "nowhere")
    whole = classify(path, [folder], batch_size=7, skip_bad=False, progress=False).csv()
    for ours, theirs in zip(csv.DictReader(io.StringIO(first)), csv.DictReader(io.StringIO(whole)), strict=True):
        assert float(ours["p(3)"]) == pytest.approx(float(theirs["p(3)"]), abs=1e-4)


def test_probabilities_have_the_runs_temperature(trained: Path, folder: Path, tmp_path: Path) -> None:
    """A run from before there was one predicts as it did then."""
    options = {"batch_size": 7, "skip_bad": False, "progress": False}
    before = tmp_path / "before" / "run"
    shutil.copytree(trained, before)
    (before / "calibration.json").unlink()
    images = sorted(folder.glob("*.png"))
    ours, theirs = (classify(path, images, **options) for path in (trained, before))  # type: ignore[arg-type]
    temperature = json.loads((trained / "calibration.json").read_text())["temperature"]
    scaled = np.log(theirs.probabilities.astype(np.float64)) / temperature
    expected = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    assert np.allclose(ours.probabilities, expected, atol=1e-9)
    assert abs(temperature - 1) > 0.01
    assert theirs.probabilities.dtype == np.float32
    with pytest.raises(UserError, match=r"needs held-out images, and .*before/run has none: it kept no"):
        classify(before, images, coverage=0.9, **options)  # type: ignore[arg-type]
    (before / "calibration.json").write_text("{}")
    with pytest.raises(UserError, match=r"calibration\.json is damaged"):
        classify(before, images, **options)  # type: ignore[arg-type]


def test_sets_of_classes(trained: Path, folder: Path) -> None:
    """Those of which 1 - p, before the temperature, is within the held-out images' quantile; and they cover."""
    options = {"batch_size": 400, "skip_bad": False, "progress": False}
    kept = json.loads((trained / "calibration.json").read_text())
    images = sorted(folder.glob("*.png"))
    found = classify(trained, images, coverage=0.8, **options)  # type: ignore[arg-type]
    limit = kept["scores"][33 - 1]  # ceil(41 x 0.8) = 33
    scaled = np.log(found.probabilities) * kept["temperature"]
    raw = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    assert found.sets is not None
    clear = np.abs(1 - raw - limit) > 1e-4
    assert clear.mean() > 0.9
    assert ((1 - raw <= limit) == found.sets)[clear].all()
    rows = list(csv.DictReader(io.StringIO(classify(trained, images, coverage=0.8, **options).csv())))  # type: ignore[arg-type]
    for row, within in zip(rows, found.sets, strict=True):
        assert row["set"] == " | ".join(name for name, held in zip(found.classes, within, strict=True) if held)
    plain = list(csv.DictReader(io.StringIO(classify(trained, images, **options).csv())))  # type: ignore[arg-type]
    assert [{**row, "set": ""} for row in plain] == [{**row, "set": ""} for row in rows]


def test_the_table_says_what_is_not_sure() -> None:
    sets = np.array([[True, False, False], [True, True, False], [False, False, False]])
    probabilities = np.array([[0.8, 0.15, 0.05], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    found = Classified(["a.png", "long name.png", "c\x1b.png"], ["cat", "=dog", "ox"], probabilities, sets)
    assert found.table() == (
        "file           prediction  confidence  next best          set\n"
        "a.png          cat             80.0 %  =dog       15.0 %  cat\n"
        "long name.png  cat             40.0 %  =dog       40.0 %  not sure: cat | =dog\n"
        "c\\x1b.png      ox              70.0 %  =dog       20.0 %  not sure\n"
    )
    rows = list(csv.reader(io.StringIO(found.csv())))
    assert rows[0] == ["file", "prediction", "confidence", "p(cat)", "p(=dog)", "p(ox)", "set"]
    assert [row[-1] for row in rows[1:]] == ["cat", "cat | =dog", ""]
    alone = Classified(["a.png"], ["cat"], np.array([[1.0]]))
    assert alone.table().splitlines()[1] == "a.png  cat            100.0 %"
