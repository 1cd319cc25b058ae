"""`tlcl explain`: nearest training images, overlays, and the command as a whole."""

import csv
import io
import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from tests.commands.calls import call_command
from tests.conftest import composed, go
from tlcl.commands.explain import main
from tlcl.config.parse import parse_config
from tlcl.data.sources.digits import load_digits
from tlcl.data.splits import train_val_split
from tlcl.errors import UserError
from tlcl.explain.neighbours import Neighbour, nearest, nearest_training_images
from tlcl.jobs import continual, explain
from tlcl.jobs import finetune as finetuning
from tlcl.jobs.finished import classify
from tlcl.models.build import build_model
from tlcl.reports.explain import OPACITY, overlay

MODEL = [
    "model=small_cnn", "model.input_size=32", "thaw=all", "trainer.select=last",
    "optim.name=adamw", "optim.lr=0.003", "optim.block_lr_decay=1.0",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    return go(composed(path, *MODEL, "trainer.epochs=4", "data.train_size=300"), finetuning.run)


def save_digits(folder: Path, numbers: list[int]) -> Path:
    """Images of the pool as files, named by their numbers there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(load_digits().pool.images[number, 0].numpy()).save(folder / f"{number}.png")
    return folder


call = partial(call_command, main, "tlcl explain")


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "explain.csv").open()))


def test_no_name_in_the_table_is_a_formula_to_a_spreadsheet() -> None:
    blank = torch.zeros(1, 2, 2, dtype=torch.uint8)
    near = Neighbour(blank, "+cmd", "", "@a.png", 0.25)
    scores, classes = torch.tensor([[0.75, 0.25]]), torch.tensor([[0]])
    results = explain.Results(
        [Path("=1.png")], ["-cmd", "b"], scores, classes, torch.zeros(1, 1, 2, 2), [[near]]
    )
    (row,) = csv.DictReader(io.StringIO(explain.table(results)))
    assert row == {
        "file": "'=1.png", "prediction": "'-cmd", "probability": "0.750000",
        "class_1": "'+cmd", "distance_1": "0.250000", "image_1": "'@a.png",
    }  # fmt: skip


def test_nearest_equals_sklearn() -> None:
    random = torch.Generator().manual_seed(0)
    queries, known = torch.randn(1500, 7, generator=random), torch.randn(90, 7, generator=random)
    distances, rows = nearest(queries, known, 4)
    found = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(known.numpy())
    expected, places = found.kneighbors(queries.numpy())
    assert np.allclose(distances.numpy(), expected, atol=1e-5)
    assert (rows.numpy() == places).mean() > 0.999  # but for ties in the last digits
    again, same = nearest(queries * torch.rand(1500, 1, generator=random).add(0.1), 5 * known, 4)
    assert torch.equal(rows, same)
    assert torch.allclose(distances, again, atol=1e-5)
    itself, first = nearest(known, known, 1)
    assert torch.equal(first.squeeze(1), torch.arange(90))
    assert bool((itself >= 0).all())
    assert float(itself.max()) < 1e-6


def test_overlay_mixes_by_the_evidence() -> None:
    picture = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = picture.permute(1, 2, 0).numpy()
    assert np.array_equal(overlay(picture, torch.zeros(2, 2)), plain)
    heat = torch.zeros(8, 8)
    heat[1, 2], heat[5, 5] = 4.0, 2.0
    mixed = overlay(picture, heat)
    assert np.array_equal(mixed, overlay(picture, 10 * heat))
    for (row, column), share in (((1, 2), 1.0), ((5, 5), 0.5), ((7, 0), 0.0)):
        colour = 255 * np.array(colormaps["inferno"](share)[:3])
        expected = (1 - OPACITY * share) * plain[row, column] + OPACITY * share * colour
        assert np.abs(mixed[row, column] - expected).max() <= 1
    large = overlay(torch.zeros(3, 80, 80, dtype=torch.uint8), torch.eye(2)).sum(2)
    assert large[:30, :30].min() > large[:30, 50:].max()  # upright, and not mirrored


def test_a_training_image_is_nearest_to_itself_and_no_other_split_is_looked_at(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = load_digits().pool.labels
    split = train_val_split(labels, train_size=300, val_size=40, seed=0)
    ours, others = split.train[:5].tolist(), split.val[:5].tolist()
    folder = save_digits(tmp_path / "images", ours + others)
    code, out, _ = call(monkeypatch, capsys, trained, folder, "--neighbours", 3, "--out", tmp_path / "out")
    assert code == 0
    assert out == f"explained: {tmp_path / 'out' / 'explain.html'}\n"
    rows = rows_of(tmp_path / "out")
    for row in rows:
        number = int(Path(row["file"]).stem)
        near = [int(row[f"image_{rank}"].removeprefix("no. ")) for rank in (1, 2, 3)]
        distances = [float(row[f"distance_{rank}"]) for rank in (1, 2, 3)]
        assert set(near) <= set(split.train.tolist())
        assert [row[f"class_{rank}"] for rank in (1, 2, 3)] == [str(int(labels[place])) for place in near]
        assert distances == sorted(distances)
        assert (near[0] == number) == (number in ours)
        assert (distances[0] < 1e-5) == (number in ours)
    table = classify(trained, [folder], batch_size=256, skip_bad=False, progress=False).csv()
    for row, known in zip(rows, csv.DictReader(io.StringIO(table)), strict=True):
        assert (row["file"], row["prediction"]) == (known["file"], known["prediction"])
        assert float(row["probability"]) == pytest.approx(float(known["confidence"]), abs=1e-5)


def test_the_page_is_self_contained_and_escaped(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_digits(tmp_path / "images", [1, 2])
    (folder / "1.png").rename(folder / "<script>alert(1)<.png")
    (folder / "2.png").rename(folder / b"\xff.png".decode("utf-8", "surrogateescape"))
    (folder / "bad.png").write_text("no image")
    classes = ["--classes", "predicted", "runner-up", "7"]
    code, _, err = call(monkeypatch, capsys, trained, folder, *classes, "--skip-bad", "--block", "layer1")
    assert code == 0
    assert "bad.png" in err
    out = trained / "explain"
    page = (out / "explain.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert "http" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "layer1, 5 × 5 places" in page
    pictures = sorted(path.name for path in (out / "overlays").iterdir())
    assert page.count("heat map for the class") == len(pictures)
    assert 4 <= len(pictures) <= 6  # the third class may be one of the first two
    assert all(re.fullmatch(r"[\w.-]+\.png", name) for name in pictures)
    assert all(Image.open(out / "overlays" / name).size == (224, 224) for name in pictures)
    assert page.count("training image of the class") == 10


def test_more_images_than_the_page_shows_are_all_in_the_table(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explain, "SHOWN", 2)
    folder = save_digits(tmp_path / "images", [1, 2, 3])
    arguments = (trained, folder, "--out", tmp_path / "out", "--neighbours", 0)
    assert call(monkeypatch, capsys, *arguments)[0] == 0
    page = (tmp_path / "out" / "explain.html").read_text()
    assert "3 images, of which the first 2 are shown" in page
    assert "Alike" not in page
    assert list(rows_of(tmp_path / "out")[2]) == ["file", "prediction", "probability"]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 3


def test_own_images_are_named_by_their_files_and_without_them_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = load_digits().pool.labels
    data = tmp_path / "my data"
    for number in range(60):
        save_digits(data / f"digit {int(labels[number])}", [number])
    options = ["data=image_folder", f"data.train={data}", "data.size=8", "data.train_size=30", "data.val_size=10"]
    path = go(composed(tmp_path, *MODEL, *options, "data.crop_padding=0", "trainer.epochs=1"), finetuning.run)
    image = sorted(data.rglob("*.png"))[0]
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))
    assert call(monkeypatch, capsys, path, image)[0] == 0
    (row,) = rows_of(path / "explain")
    for rank in range(1, 6):
        file = data / row[f"image_{rank}"]
        assert file.is_file()
        assert file.parent.name == row[f"class_{rank}"]
    outside = shutil.copy(image, tmp_path / "one.png")
    shutil.rmtree(data)
    code, _, err = call(monkeypatch, capsys, path, outside)
    assert code == 0
    assert err.count("\n") == 1
    assert "the training data is not to be had any more" in err
    assert list(rows_of(path / "explain")[0]) == ["file", "prediction", "probability"]
    assert "No training images are shown" in (path / "explain" / "explain.html").read_text()


@pytest.mark.parametrize("target_labels", [0, 2])
def test_both_domains_of_an_adaptation_are_looked_at(tmp_path: Path, target_labels: int) -> None:
    """With the labels that training saw: none of the target's but the few it was given."""
    options = [
        "data@source=rendered_digits", "adaptation=coral", f"adaptation.target_labels={target_labels}",
        "source.train_size=60", "source.val_size=20", "source.images_per_class=20", "data.cache_prefix=off",
    ]  # fmt: skip
    config = parse_config(composed(tmp_path, *MODEL, *options))
    net, _ = build_model(config.model, 10, seed=0)
    pool = load_digits().pool
    cpu = torch.device("cpu")
    (found,) = nearest_training_images(net, pool.images[:1], config, tmp_path, cpu, 200, progress=False)
    target = [one for one in found if one.domain == "target"]
    assert len(target) == 96
    assert len([one for one in found if one.domain == "source" and one.label is not None]) == 60
    known = [one for one in target if one.label is not None]
    assert len(known) == 10 * target_labels
    for one in target:
        number = int(one.name.removeprefix("no. "))
        assert torch.equal(one.image, pool.images[number])
        assert one.label in (None, pool.classes[pool.labels[number]])


def test_classes_of_a_domain_incremental_run_that_are_no_answers_contradict_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["continual=domain_incremental", "method=naive", "continual.classes_per_task=5"]
    path = go(composed(tmp_path, *MODEL, *options, "trainer.epochs=1"), continual.run)
    assert json.loads((path / "labels.json").read_text())["classes"][0] == "place 1"
    assert call(monkeypatch, capsys, path, save_digits(tmp_path / "images", [5]))[0] == 0
    (row,) = rows_of(path / "explain")
    assert row["prediction"].startswith("place ")
    assert row["class_1"] in list("0123456789")
    assert 'class="other"' not in (path / "explain" / "explain.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{empty}", "{image}"], "is no finished tlcl run"),
        (["{run}", "nowhere.png"], "nowhere.png does not exist"),
        (["{run}", "{empty}"], "no image files in"),
        (["{run}", "{image}", "--block", "layer9"], "--block=layer9 is not one of stem, layer1"),
        (["{run}", "{image}", "--block", "layer3"], "--block=layer3 has one place"),
        (["{run}", "{image}", "--classes", "cat"], "--classes=cat is none of predicted, runner-up, 0, 1"),
        (["{run}", "{image}", "--neighbours", "-1"], "--neighbours=-1 must be at least 0"),
        (["{run}", "{image}", "--out", "{image}"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    trained: Path,
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    image = save_digits(tmp_path / "images", [1]) / "1.png"
    filled = [part.format(run=trained, image=image, empty=tmp_path / "empty") for part in arguments]
    code, out, err = call(monkeypatch, capsys, *filled)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_an_image_that_vanishes_in_between_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    folder = save_digits(tmp_path / "images", [1])
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to("nowhere")
    with pytest.raises(UserError, match="cannot be read any more"):
        list(explain.pictures([folder], [folder / "1.png"], None))
