import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix as sklearn_confusion

from tests.reports.conftest import metrics, predictions
from tlcl.config.thaw import BLOCKS
from tlcl.reports.plots.predictions import (
    confusion_counts,
    confusion_matrix,
    mistakes_grid,
    most_confused,
)
from tlcl.reports.plots.predictions import (
    tested_figures as figures_of_tests,
)
from tlcl.reports.plots.reliability import reliability_caption, reliability_figures
from tlcl.reports.plots.style import ORANGE
from tlcl.reports.plots.training import Course, learning_curves, milestones, save_plots, thaw_timeline
from tlcl.tracking.image_table import write_test_table


def records_of(path: Path, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """What of a run's records the test images are in."""
    np.savez(
        path / "test_predictions.npz",
        labels=labels,
        probabilities=probabilities,
        mistake_index=np.array([4, 0, 7]),
        mistake_images=np.zeros((3, 1, 8, 8), dtype=np.uint8),
    )
    classes = [f"class {number}" for number in range(probabilities.shape[1])]
    (path / "labels.json").write_text(json.dumps({"classes": classes}))


def test_milestones_are_drawn_where_blocks_thaw() -> None:
    assert milestones(metrics(6)) == [(2, ["layer4"]), (4, ["layer2", "layer3"])]
    figure = learning_curves(metrics(6))
    for axes in figure.axes:
        dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]  # type: ignore[index]
        assert dashed == [1.5, 3.5]
        assert {text.get_text() for text in axes.texts} == {"thaw layer4", "thaw layer2, layer3"}
        assert len([line for line in axes.lines if line.get_linestyle() == "-"]) == 2


def marked(figure: Figure) -> list[tuple[float, float, str]]:
    """Of each panel: where the tested epoch's line and ring are, and what the legend calls it."""
    found = []
    for axes in figure.axes:
        (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        (ring,) = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]  # type: ignore[arg-type]
        assert ring.get_xdata()[0] == line.get_xdata()[0]  # type: ignore[index]
        found.append((line.get_xdata()[0], ring.get_ydata()[0], str(line.get_label())))  # type: ignore[index]
    return found


def test_the_tested_epoch_is_marked() -> None:
    # The accuracy rises to the last epoch; the loss is lowest elsewhere.
    lines = [{**line, "val/loss": loss} for line, loss in zip(metrics(6), (3, 2, 1, 2, 3, 4), strict=True)]
    best = learning_curves(lines, Course("accuracy", tested=5))
    assert marked(best) == [(5, 5 / 6, "tested: epoch 5"), (5, 4, "tested: epoch 5")]
    assert best.get_suptitle() == "Highest validation accuracy at epoch 5: 83.3 % of the validation images right"
    by_loss = learning_curves(lines, Course("loss"))
    assert marked(by_loss) == [(2, 2 / 6, "best so far: epoch 2"), (2, 1, "best so far: epoch 2")]
    assert by_loss.get_suptitle().startswith("Lowest validation loss at epoch 2: 33.3 %")
    last = learning_curves(lines, Course("loss", tested=5))
    assert last.get_suptitle() == (
        "Tested: epoch 5, 83.3 % of the validation images right; lowest validation loss at epoch 2"
    )
    (orange,) = [line for line in thaw_timeline(lines, 2).axes[0].lines if line.get_color() == ORANGE]
    assert orange.get_xdata()[0] == 2  # type: ignore[index]
    assert not thaw_timeline(lines).axes[0].lines


def test_a_training_that_was_stopped_early_says_so() -> None:
    lines, ended = metrics(6), Course(planned=20, patience=3, finished=True)
    assert learning_curves(lines, ended).get_suptitle().endswith(
        "\nstopped early, after 6 of 20 epochs: 3 epochs brought nothing better"
    )
    for course in (ended._replace(finished=False), ended._replace(planned=6), ended._replace(patience=None)):
        assert "stopped" not in learning_curves(lines, course).get_suptitle()


def test_near_milestones_share_a_name() -> None:
    lines = metrics(200)  # epochs 2 and 4 are 1 % of the axes apart: both lines, one text
    for axes in learning_curves(lines).axes:
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [1.5, 3.5]  # type: ignore[index]
        assert [text.get_text() for text in axes.texts] == ["thaw layer4, layer2, layer3"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 35, 200])
def test_epoch_ticks_are_whole(epochs: int) -> None:
    for figure in (learning_curves(metrics(epochs)), thaw_timeline(metrics(epochs))):
        for axes in figure.axes:
            if axes.get_xlabel() == "epoch":
                low, high = axes.get_xlim()
                ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
                assert ticks
                assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_timeline_draws_equal_and_zero_rates(rate: float, tmp_path: Path) -> None:
    lines = [{**line, **{f"lr/{block}": rate for block in BLOCKS}} for line in metrics(3)]
    thaw_timeline(lines).savefig(tmp_path / "thaw.png")
    lines = [{**line, "trainable": []} for line in lines]
    thaw_timeline(lines).savefig(tmp_path / "thaw.png")


def test_timeline_shows_rates_of_trained_blocks_only() -> None:
    (image,) = thaw_timeline(metrics(6)).axes[0].images
    shown = np.ma.filled(image.get_array(), np.nan)
    assert shown.shape == (6, 6)
    np.testing.assert_allclose(shown[0], 0.6)  # the head, on top, in every epoch
    assert np.isnan(shown[1]).tolist() == [True, True, False, False, False, False]
    assert np.isnan(shown[4:]).all()  # layer1 and stem stay frozen


def test_confusion_equals_sklearn() -> None:
    labels, probabilities = predictions()
    expected = sklearn_confusion(labels, probabilities.argmax(1))
    np.testing.assert_array_equal(confusion_counts(labels, probabilities), expected)
    axes = confusion_matrix(labels, probabilities, list("abcd")).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), expected / expected.sum(1, keepdims=True))
    assert f"{expected.trace()} of 200" in axes.get_title()


def test_mistakes_name_both_classes() -> None:
    images = np.zeros((7, 3, 4, 4), dtype=np.uint8)
    labels, probabilities = predictions(7)
    figure = mistakes_grid(images, labels, probabilities, ["$a$", "b", "c", "d"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 7
    for title, label, row in zip(titles, labels, probabilities, strict=True):
        names = ["$a$", "b", "c", "d"]
        assert title == f"{names[label]} → {names[row.argmax()]}\n{100 * row.max():.1f} % sure"
    long = ["a_long_class_name_number_1", "a_long_class_name_number_2", "c", "d"]
    (title,) = [
        axes.get_title()
        for axes in mistakes_grid(images[:1], np.array([0]), np.array([[0.1, 0.9, 0, 0]]), long).axes
    ]
    assert title == "a_long_cl…e_number_1\n→ a_long_cl…e_number_2\n90.0 % sure"  # cut, and still two classes
    files = ["cat/a_long_name_of_a_photo_taken_in_2024.png", *(f"{number}.png" for number in range(6))]
    figure = mistakes_grid(images, labels, probabilities, ["$a$", "b", "c", "d"], files)
    below = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert below == ["cat/a_long_nam…ken_in_2024.png", *files[1:]]


@pytest.mark.parametrize("count", [30, 60])
def test_many_classes_stay_readable(count: int) -> None:
    """Every class is named once an axis, in letters that do not touch each other."""
    labels, probabilities = predictions(400, count)
    classes = [f"class {i}, a name of fifty letters, the last ones of {i:02d}" for i in range(count)]
    axes = confusion_matrix(labels, probabilities, classes).axes[0]
    names = [name.get_text() for name in axes.get_yticklabels()]
    assert len(set(names)) == count
    assert all(len(name) == 20 and "…" in name for name in names)
    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()
    boxes = [name.get_window_extent(canvas.get_renderer()) for name in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))


def test_of_a_hundred_classes_the_most_confused_are_drawn() -> None:
    """Class 7 is taken for 93, and 50 for 7; the others are right, so the first of them fill up."""
    labels = np.repeat(np.arange(100), 4)
    predicted = labels.copy()
    predicted[labels == 7], predicted[(labels == 50).nonzero()[0][:1]] = 93, 7
    counts = confusion_counts(labels, np.eye(100)[predicted])
    assert most_confused(counts, 3).tolist() == [7, 50, 93]
    axes = confusion_matrix(labels, np.eye(100)[predicted], [f"class {i}" for i in range(100)]).axes[0]
    names = [name.get_text() for name in axes.get_yticklabels()]
    assert names == [f"class {i}" for i in [*range(28), 50, 93]]
    assert axes.get_title() == "The 30 most confused of 100 classes\n395 of 400 test images right (98.8 %)"
    shares = np.asarray(axes.images[0].get_array())
    assert shares[names.index("class 50")].sum() == 1  # 3 right, 1 taken for class 7
    assert shares[names.index("class 50"), names.index("class 7")] == 0.25
    assert min(name.get_fontsize() for name in axes.get_yticklabels()) >= 8
    assert not axes.texts
    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()
    for label in (axes.xaxis.label, axes.yaxis.label):
        box = label.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.y0 >= 0


@pytest.mark.parametrize("epochs", [1, 200])
@pytest.mark.parametrize("classes", [2, 60])
def test_every_plot_is_written(tmp_path: Path, epochs: int, classes: int) -> None:
    assert save_plots(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(epochs)))
    assert [path.name for path in save_plots(tmp_path)] == ["curves.png", "thaw.png"]
    labels, probabilities = predictions(classes=classes)
    records_of(tmp_path, labels, probabilities)
    paths = save_plots(tmp_path)
    assert [path.stem for path in paths] == ["curves", "thaw", "confusion", "mistakes"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_reliability_is_drawn_from_the_records(tmp_path: Path) -> None:
    labels, probabilities = predictions()
    records_of(tmp_path, labels, probabilities)
    assert reliability_figures(tmp_path) == {}  # as for a run of before
    kept = {"temperature": 2.5, "reason": None, "images": 30, "held_out": "validation images", "scores": []}
    (tmp_path / "calibration.json").write_text(json.dumps(kept))
    upper, lower = reliability_figures(tmp_path)["reliability"].axes
    softer = np.log(probabilities) / 2.5
    after = np.exp(softer) / np.exp(softer).sum(1, keepdims=True)
    for number, given in enumerate((probabilities, after)):
        sure, right = given.max(1), given.argmax(1) == labels
        bins = np.ceil(sure * 15).astype(int)
        expected = [(sure[bins == one].mean(), right[bins == one].mean()) for one in np.unique(bins)]
        np.testing.assert_allclose(upper.lines[1 + number].get_xydata(), expected)
        heights = [patch.get_height() for patch in lower.containers[number]]
        assert [height for height in heights if height] == [(bins == one).sum() for one in np.unique(bins)]
        shares = [(bins == one).mean() for one in np.unique(bins)]
        error = sum(share * abs(a - b) for share, (a, b) in zip(shares, expected, strict=True))
        assert f"{100 * error:.1f} %" in reliability_caption(tmp_path)
        legend = upper.get_legend()
        assert legend is not None
        assert f"error {100 * error:.1f} %" in legend.get_texts()[number].get_text()
    assert "2.50" in reliability_caption(tmp_path)
    assert "30 validation images" in reliability_caption(tmp_path)
    (tmp_path / "calibration.json").write_text(json.dumps({**kept, "temperature": None, "reason": "few"}))
    upper, _ = reliability_figures(tmp_path)["reliability"].axes
    assert len(upper.lines) == 2  # the dashed one, and before
    assert "No temperature is fitted: few" in reliability_caption(tmp_path)


def test_names_below_the_mistakes_are_those_of_the_table(tmp_path: Path) -> None:
    labels, probabilities = predictions()
    records_of(tmp_path, labels, probabilities)
    assert not any(axes.texts for axes in figures_of_tests(tmp_path)["mistakes"].axes)
    files = [f"={number}.png" for number in range(200)]
    write_test_table(tmp_path, files, labels, probabilities, list("abcd"))
    axes = figures_of_tests(tmp_path)["mistakes"].axes
    assert [text.get_text() for one in axes for text in one.texts] == ["=4.png", "=0.png", "=7.png"]
    write_test_table(tmp_path, [], labels, probabilities, list("abcd"))
    axes = figures_of_tests(tmp_path)["mistakes"].axes
    assert [text.get_text() for one in axes for text in one.texts] == ["image 4", "image 0", "image 7"]
    (tmp_path / "test_predictions.csv").write_text("file\nx\n")  # of other images
    assert not any(axes.texts for axes in figures_of_tests(tmp_path)["mistakes"].axes)
