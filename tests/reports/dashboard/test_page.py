"""The page of runs beside each other."""

import re
from pathlib import Path

from tests.reports.dashboard.conftest import record
from tlcl.reports.dashboard.page import data_of, find_runs, labels_of, write_dashboard


def test_the_page_shows_the_runs_and_runs_nothing(runs_dir: Path) -> None:
    out = runs_dir / "dashboard.html"
    assert write_dashboard(runs_dir, out) == 4
    page = out.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#|sweeps/)', page)
    names = re.findall(r'<h2 id="view\d">(.*?)</h2>', page)
    assert names == ["Fine-tuning", "Sweeps"]  # no other job was run
    finetuning, sweeps = page.split("<h2 ")[1:]
    assert finetuning.count('class="dot"') == 4
    assert finetuning.count("(not finished)") == 1
    assert sweeps.count('class="dot"') == 3  # one alone is no sweep
    assert 'href="sweeps/grid/5/report.html">depth 5</a>' in sweeps
    assert [float(text) for text in re.findall(r"<td>(7\d\.\d) %</td><td>70", sweeps)] == [70.0, 72.0, 75.0]


def test_labels_tell_runs_apart(tmp_path: Path) -> None:
    record(tmp_path / "a", name="one", method={"name": "er"}, seed=0)
    record(tmp_path / "b", name="one", method={"name": "er"}, seed=1)
    record(tmp_path / "c", name="two")
    record(tmp_path / "d", name="three")
    record(tmp_path / "e", name="three")
    labels = {path.name: label for path, label in labels_of(find_runs(tmp_path), tmp_path).items()}
    assert labels == {"a": "seed 0", "b": "seed 1", "c": "two", "d": "three, d", "e": "three, e"}


def test_damaged_records_leave_the_rest(runs_dir: Path) -> None:
    """A line without its epoch, a figure that is none, a picture that is none."""
    zero, two = (runs_dir / "sweeps" / "grid" / name for name in ("0", "2"))
    (zero / "metrics.jsonl").write_text('{"val/acc": 1}\n')
    (two / "metrics.jsonl").write_text('{"epoch": 0, "val/acc": "x", "trainable": []}\n')
    (two / "summary.json").write_text('{"status": "complete", "test_acc": NaN, "train_size": "many"}')
    (two / "plots").mkdir()
    (two / "plots" / "confusion.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert write_dashboard(runs_dir, runs_dir / "dashboard.html") == 3


def test_names_are_no_formulas_in_its_pictures(tmp_path: Path) -> None:
    for name in (r"$\frac{$", "$$"):  # as a formula matplotlib cannot draw the first
        record(tmp_path / str(len(name)), name=name)
    assert write_dashboard(tmp_path, tmp_path / "dashboard.html") == 2
    assert (tmp_path / "dashboard.html").read_text().count("data:image/png") > 0


def test_data_sets_are_kept_apart(tmp_path: Path) -> None:
    """By source, and folders of images by their name; an adaptation by both of its domains."""
    root = tmp_path / "runs"
    photos = {"source": "image_folder", "test": None}
    record(root / "a", data={"source": "digits"}, thaw={"depth": 1})
    record(root / "b", data={**photos, "train": "/data/birds"}, thaw={"depth": 2})
    record(root / "c", data={**photos, "train": "/data/fish"}, thaw={"depth": 3})
    record(root / "d", data={"source": "digits"}, thaw={"depth": 4})
    record(root / "e", data={"source": "digits"}, source={"source": "rendered_digits"})
    found = {path.name: data for path, data in data_of(find_runs(root)).items()}
    assert found == {
        "a": "digits", "b": "image_folder birds", "c": "image_folder fish", "d": "digits",
        "e": "rendered_digits → digits",
    }  # fmt: skip
    write_dashboard(root, root / "dashboard.html")
    parts = (root / "dashboard.html").read_text().split("<h2 ")[1:]
    shown = {re.findall(r">(.*?)</h2>", part)[0]: re.findall(r"</a></td><td>(.*?) %</td>", part) for part in parts}
    assert shown["Fine-tuning: digits"] == ["74.0", "71.0"]
    assert shown["Fine-tuning: image_folder birds"] == ["72.0"]
    assert shown["Fine-tuning: image_folder fish"] == ["73.0"]
    assert "Adaptation: rendered_digits → digits" in shown
    record(root / "f", data={**photos, "train": "/other/birds"})
    assert {"image_folder /data/birds", "image_folder /other/birds"} <= set(data_of(find_runs(root)).values())
