import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from tests.reports.conftest import metrics, predictions
from tlcl.data.look import look
from tlcl.data.sources.digits import load_digits
from tlcl.data.splits import train_val_split
from tlcl.reports.finetune import RECORDS, write_report
from tlcl.reports.page import confused_pairs, per_class, worst_first
from tlcl.reports.plots.training import save_plots
from tlcl.reports.tested_blocks import blocks_not_in_checkpoint

CLASSES = ["<script>alert(1)</script>", "b & c", "d", "e"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A synthetic finished run with class names that would break a page that does not escape them."""
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(6)))
    labels, probabilities = predictions()
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)[:5]
    np.savez(
        tmp_path / "test_predictions.npz",
        labels=labels,
        probabilities=probabilities,
        mistake_index=wrong,
        mistake_images=np.zeros((5, 3, 8, 8), dtype=np.uint8),
    )
    (tmp_path / "labels.json").write_text(json.dumps({"classes": CLASSES}))
    (tmp_path / "config.yaml").write_text("name: <b>bold</b>\n")
    (tmp_path / "environment.json").write_text(
        json.dumps(
            {"command": "tlcl.train", "seed": 3, "versions": {"torch": "9.9"}, "git_commit": "abc", "python": "3"}
        )
    )
    chosen = {"checkpoint": "best", "epoch": 5, "val_acc": 0.5, "val_loss": 1.0}
    (tmp_path / "summary.json").write_text(
        json.dumps(
            {
                "name": "a run",
                "test_acc": float((probabilities.argmax(1) == labels).mean()),
                "test_size": 200,
                "selected": chosen,
                "val_size": 40,
                "train_size": 96,
                "classes": 4,
                "epochs": 6,
                "parameters": {"total": 1000, "trained": 250},
                "trained_blocks": ["head"],
                "weights": {"source": "letters", "sha256": "f" * 64},
                "seconds": 12.0,
                "skipped_images": 2,
                "duplicates_train_test": 7,
            }
        )
    )
    save_plots(tmp_path)
    return tmp_path


def test_class_figures_equal_sklearn() -> None:
    labels, probabilities = predictions()
    rows = per_class(labels, probabilities, CLASSES)
    guesses = probabilities.argmax(1)
    assert [row["precision"] for row in rows] == pytest.approx(precision_score(labels, guesses, average=None))
    assert [row["recall"] for row in rows] == pytest.approx(recall_score(labels, guesses, average=None))
    assert sum(row["images"] for row in rows) == 200
    pairs = confused_pairs(labels, probabilities, list("0123"))
    counts = [count for *_, count in pairs]
    assert counts == sorted(counts, reverse=True)
    first = pairs[0]
    assert first[2] == ((labels == int(first[0])) & (guesses == int(first[1]))).sum()
    assert all(true != guess for true, guess, _ in pairs)


def test_a_class_without_test_images_has_no_figures() -> None:
    """Class 0: 1 of 2 right; 1: never answered; 2: no image, answered twice; 3: neither; 4: right."""
    labels, guesses = np.array([0, 0, 1, 4]), np.array([0, 2, 2, 4])
    rows = per_class(labels, np.eye(5)[guesses], list("abcde"))
    figures = [tuple(row[key] for key in ("precision", "recall", "f1")) for row in rows]
    half = (1.0, 0.5, pytest.approx(2 / 3))
    assert figures == [half, (None, 0.0, 0.0), (None,) * 3, (None,) * 3, (1.0, 1.0, 1.0)]
    assert [row["name"] for row in worst_first(rows)] == ["b", "a", "e", "c", "d"]


def test_the_page_shows_a_dash_for_what_was_not_tested(run_dir: Path) -> None:
    labels, probabilities = predictions()
    stored = dict(np.load(run_dir / "test_predictions.npz"))
    kept = labels != 2
    stored |= {"labels": labels[kept], "probabilities": probabilities[kept]}
    np.savez(run_dir / "test_predictions.npz", **stored)
    page = write_report(run_dir).read_text().partition("Class by class")[2]
    rows = re.findall(r"<tr><td>(.*?)</td>" + 4 * r"<td>(.*?)</td>", page)
    assert rows[-1] == ("d", "–", "–", "–", "0")
    recalls = [float(row[2]) for row in rows[:-1]]
    assert len(recalls) == 3
    assert recalls == sorted(recalls)


def test_the_first_screen_says_how_good_and_what_next(run_dir: Path) -> None:
    """Before cards and plots; the recorded directory is quoted for a shell, and then for the page."""
    (run_dir / "config.yaml").write_text("run_dir: my runs/<1>\nmodel: {name: resnet18}\n")
    look = {"facts": [], "warnings": [], "classes": [], "answer": "b & c", "answer_acc": 0.3}
    rewrite(run_dir / "summary.json", look=look)
    page = write_report(run_dir).read_text()
    first = html.unescape(page.split('<div class="cards">')[0])
    labels, probabilities = predictions()
    right = int((probabilities.argmax(1) == labels).sum())
    assert f"resnet18 with a new head, all else frozen: {100 * right / 200:.1f} % of 200 test images" in first
    share = 100 * (labels == CLASSES.index("b & c")).mean()  # counted from the answers themselves
    assert f'always answering "b & c", which would be right on {share:.1f} %' in first
    true, predicted, count = confused_pairs(labels, probabilities, CLASSES)[0]
    assert f'Most often it takes "{true}" for "{predicted}": {count} images.' in first
    assert "What next:" in first
    assert "<pre>tlcl predict 'my runs/<1>' IMAGES --csv predictions.csv</pre>" in first
    assert "<pre>tlcl explain 'my runs/<1>' IMAGES</pre>" in first
    (run_dir / "summary.json").unlink()
    first = html.unescape(write_report(run_dir).read_text().split('<div class="cards">')[0])
    assert "<pre>tlcl train '+resume=\"my runs/<1>\"'</pre>" in first
    assert "What next" not in first


def test_similarities_of_untrained_blocks_are_not_shown(run_dir: Path) -> None:
    """Of layer4, which thawed at epoch 2, none if epoch 1 is tested; nor is it said to be retrained."""
    record = {
        "cka": {"images": 20, "blocks": {"stem": 1.0, "layer3": 1.0, "layer4": 0.5}},
        "trained_blocks": ["layer4", "head"],
    }
    rewrite(run_dir / "summary.json", **record)
    save_plots(run_dir)
    page = write_report(run_dir).read_text()
    assert "Left out: 2 that stayed frozen" in page
    assert "layer4, head retrained" in page
    rewrite(run_dir / "summary.json", selected={"checkpoint": "best", "epoch": 1, "val_acc": 0.5})
    page = write_report(run_dir).read_text()  # the picture is still there
    assert "linear CKA" not in page
    assert "with a new head, all else frozen" in page
    save_plots(run_dir)
    assert not (run_dir / "plots" / "cka.png").exists()


def test_a_run_without_mistakes_has_no_picture_of_them(run_dir: Path) -> None:
    """Nor one that was drawn before."""
    labels, _ = predictions()
    np.savez(
        run_dir / "test_predictions.npz", labels=labels, probabilities=np.eye(4)[labels],
        mistake_index=np.zeros(0, dtype=int), mistake_images=np.zeros((0, 3, 8, 8), dtype=np.uint8),
    )  # fmt: skip
    save_plots(run_dir)
    page = write_report(run_dir).read_text()
    assert page.count("<img") == 3
    assert "No test image is classified wrongly." in page
    assert "Most confused" not in page


def test_page_is_self_contained_and_escaped(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert "http" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;bold" in page
    images = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', page)
    assert len(images) == 4
    assert all(len(alternative) > 40 for alternative in images)
    for part in ("hold 7 test images too", "2 unreadable files", "25.0 %", "torch==9.9", "abc"):
        assert part in page


def test_unfinished_run_has_a_page_that_says_so(run_dir: Path) -> None:
    for name in ("summary.json", "test_predictions.npz"):
        (run_dir / name).unlink()
    shutil.rmtree(run_dir / "plots")
    save_plots(run_dir)
    page = write_report(run_dir).read_text()
    assert "not finished" in page
    assert "6 epochs" in page
    assert page.count("<img") == 2


def test_a_calibrated_run_says_how_far_it_is_from_honest(run_dir: Path) -> None:
    rewrite(run_dir / "summary.json", calibration={"temperature": 1.5})
    assert "calibration.json is missing" in write_report(run_dir).read_text()
    (run_dir / "calibration.json").write_text("{}")
    save_plots(run_dir)
    assert write_report(run_dir).read_text().count("<img") == 4
    (run_dir / "calibration.json").write_text(
        json.dumps({"temperature": 1.5, "reason": None, "images": 40, "held_out": "<b>", "scores": [0.5]})
    )
    save_plots(run_dir)
    page = write_report(run_dir).read_text()
    assert page.count("<img") == 5
    assert "Expected calibration error" in page
    assert "40 &lt;b&gt;" in page


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", list(RECORDS))
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_lost_record_is_named_and_the_rest_is_shown(run_dir: Path, name: str, damage: str) -> None:
    lost = ("metrics.jsonl", "labels.json", "test_predictions.npz")  # each costs two pictures
    path = run_dir / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:12])
    if name in lost:
        shutil.rmtree(run_dir / "plots")
        save_plots(run_dir)
    page = write_report(run_dir).read_text()
    if damage == "missing":
        assert f"{name} is missing" in page
    elif name != "config.yaml":  # shown as it is
        assert f"{name} cannot be read" in page
    assert "test accuracy" in page  # from the predictions or else from the summary
    assert page.count("<img") == (2 if name in lost else 4)


def test_a_whole_record_lacks_nothing_and_an_empty_directory_everything(run_dir: Path, tmp_path: Path) -> None:
    assert "Not in this report" not in write_report(run_dir).read_text()
    empty = tmp_path / "empty"
    empty.mkdir()
    page = write_report(empty).read_text()
    assert page.count("is missing") == len(RECORDS)
    assert "0 epochs" in page


def test_accuracy_is_shown_of_a_run_killed_before_its_summary(run_dir: Path) -> None:
    labels, probabilities = predictions()
    share = (probabilities.argmax(1) == labels).mean()
    (run_dir / "summary.json").unlink()
    page = write_report(run_dir).read_text()
    assert f"{100 * share:.1f} %" in page
    assert "not finished" in page
    assert "no test" not in page


def test_blocks_thawed_after_the_tested_epoch_are_not_claimed(run_dir: Path) -> None:
    lines = metrics(6)
    assert blocks_not_in_checkpoint({"selected": {"epoch": 5}}, lines) == []
    assert blocks_not_in_checkpoint({"selected": {"epoch": 4}}, lines) == []
    assert blocks_not_in_checkpoint({"selected": {"epoch": 3}}, lines) == ["layer2", "layer3"]
    assert blocks_not_in_checkpoint({}, lines) == []
    assert "is from before" not in write_report(run_dir).read_text()
    chosen = {"checkpoint": "best", "epoch": 1, "val_acc": 0.5, "val_loss": 1.0}
    rewrite(run_dir / "summary.json", selected=chosen)
    assert "(epoch 1) is from before layer2, layer3, layer4" in write_report(run_dir).read_text()


@pytest.mark.parametrize("answer", ["head", "deeper"])
def test_how_the_answer_came_about_is_shown(run_dir: Path, answer: str) -> None:
    """A head that stays has no epochs, and none are missed; nor is its place in them made up."""
    record = json.loads((run_dir / "summary.json").read_text())
    record |= {
        "answer": answer,
        "first_answer": {
            "test_acc": 0.9149, "interval": [0.86, 0.95], "fitted_on": 1244, "seconds": 1.25, "folds": 5,
        },
        "deeper": {"words": "on 1,000 held-out images the deeper model is right on more, the head <alone> on less"},
        "selected_by": "the epoch with the lowest validation loss",
    }
    if answer == "head":
        (run_dir / "metrics.jsonl").unlink()
        record["selected"] = {"checkpoint": "head", "epoch": None, "val_acc": 0.905, "val_loss": 0.3}
        record["selected_by"] = "the head alone"
    (run_dir / "summary.json").write_text(json.dumps(record))
    page = write_report(run_dir).read_text()
    for words in ("91.5 % of the test images", "86.0 – 95.0 %", "1,244 images", record["selected_by"]):
        assert words in " ".join(page.split())
    assert "On 1,000 held-out images" in page
    assert "the head &lt;alone&gt;" in page
    assert "epoch None" not in page
    assert "Not in this report" not in page
    assert ("cross-validated accuracy" in page) == (answer == "head")
    assert ("that head on the frozen network" in page) == (answer == "head")


def test_the_look_at_the_images_is_shown(run_dir: Path) -> None:
    """Sentences, warnings and a table a class, all escaped; once what both say of unreadable files."""
    assert "The images" not in write_report(run_dir).read_text()
    count = 31
    rows = [
        {"name": f"<i>{label}</i>", "total": 1240, "train": 1234, "val": 5, "test": 1} for label in range(count)
    ]
    seen = {"facts": ["5 <images>.", "They are small."], "warnings": ["2 <b> files were left out.", "Odd & even."]}
    rewrite(run_dir / "summary.json", look={**seen, "classes": rows[:30]})
    page = write_report(run_dir).read_text()
    assert "<p>5 &lt;images&gt;. They are small.</p>" in page
    assert '<p class="warn">2 &lt;b&gt; files were left out.</p>' in page
    assert '<p class="warn">Odd &amp; even.</p>' in page
    assert "<td>&lt;i&gt;29&lt;/i&gt;</td><td>1,234</td><td>5</td><td>1</td>" in page
    assert "<i>" not in page
    assert "unreadable file" not in page
    assert "hold 7 test images too" in page
    rewrite(run_dir / "summary.json", look={**seen, "classes": rows})
    page = write_report(run_dir).read_text()
    assert "They are small." in page
    assert "1,234" not in page


def test_a_real_look_is_shown_whole(run_dir: Path) -> None:
    source = load_digits()
    source.pool.images[7] = source.test.images[3]
    split = train_val_split(source.pool.labels, train_size=90, val_size=20, seed=0)
    seen = look(source, split)
    rewrite(run_dir / "summary.json", look=seen.record())
    page = html.unescape(write_report(run_dir).read_text())
    assert all(line.strip() in page for line in seen.sentences())
    assert all(f"<td>{one.name}</td><td>{one.train}</td><td>{one.val}</td>" in page for one in seen.classes)


def title_in_browser(page: Path, profile: Path) -> str:
    """The title that a page's script gives it."""
    dom = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--allow-file-access-from-files", f"--user-data-dir={profile}", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    (title,) = re.findall(r"<title>([\d,]+)</title>", dom)
    return str(title)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.slow
def test_plots_show_in_a_browser(run_dir: Path, tmp_path: Path) -> None:
    page = write_report(run_dir).read_text()
    probe = (
        "<script>addEventListener('load', () => { document.title = "
        "[...document.images].map(i => i.naturalWidth).join(',') })</script></body>"
    )
    copy = tmp_path / "probe.html"
    copy.write_text(page.replace("</body>", probe))
    widths = [int(width) for width in title_in_browser(copy, tmp_path / "profile").split(",")]
    assert len(widths) == 4
    assert min(widths) > 300


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.slow
def test_a_phone_need_not_scroll_sideways(run_dir: Path, tmp_path: Path) -> None:
    """Names of fifty letters without a space, wide tables and plots: all within 390 pixels, or scrolled inside."""
    names = [f"{letter * 25}_{'long' * 6}" for letter in "abcd"]
    (run_dir / "labels.json").write_text(json.dumps({"classes": names}))
    save_plots(run_dir)
    page = write_report(run_dir)
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe src='{page.as_uri()}' style='width:390px;height:800px;border:0' onload=\""
        "document.title = [this.contentDocument.documentElement.scrollWidth, "
        "this.contentDocument.images.length].join(',')\"></iframe>"
    )
    width, images = title_in_browser(frame, tmp_path / "profile").split(",")
    assert int(images) == 4
    assert 300 < int(width) <= 390
