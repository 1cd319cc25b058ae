"""Runs compared from their recorded answers: against counts by hand, and nothing where they cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from tlcl.data.image_tensors import ImageTensors
from tlcl.errors import UserError
from tlcl.reports.pair import write_pair
from tlcl.reports.paired import (
    answered,
    beside_chosen,
    compared,
    difference_words,
    pair_sentence,
    standing_words,
)
from tlcl.reports.study import grid_sentence
from tlcl.reports.tables.sweep import chosen, rows_of
from tlcl.statistics.paired import holm, paired_difference
from tlcl.statistics.power import images_to_tell
from tlcl.tracking.data_record import data_record
from tlcl.tracking.finished_run import COMPLETE
from tlcl.tracking.sweep_records import RunRecord

LABELS = np.arange(200) % 4


def run_in(path: Path, right: np.ndarray, labels: np.ndarray = LABELS, digest: str = "abc") -> Path:
    path.mkdir(parents=True)
    guesses = np.where(right, labels, (labels + 1) % 4)
    (path / "labels.json").write_text(json.dumps({"classes": ["a", "b", "c", "d"]}))
    (path / "data.json").write_text(json.dumps({"test": {"digest": digest}}))
    np.savez(
        path / "test_predictions.npz", labels=labels, probabilities=np.eye(4, dtype=np.float32)[guesses],
        mistake_index=np.empty(0, int), mistake_images=np.empty((0, 3, 4, 4), np.uint8),
    )  # fmt: skip
    return path


def hits(share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(200) < share


def test_only_runs_with_known_answers_are_compared(tmp_path: Path) -> None:
    right = hits(0.7, 0)
    one = run_in(tmp_path / "one", right)
    found = answered(one)
    assert found is not None
    assert np.array_equal(found.right, right)
    assert answered(tmp_path / "nowhere") is None
    assert answered(run_in(tmp_path / "hidden", right, np.full(200, -1))) is None
    (tmp_path / "one" / "test_predictions.npz").write_bytes(b"damaged")
    assert answered(one) is None


def test_other_images_and_other_seeds_are_left_out(tmp_path: Path) -> None:
    first = {seed: run_in(tmp_path / f"a{seed}", hits(0.6, seed)) for seed in (0, 1)}
    others = {
        "same": {seed: run_in(tmp_path / f"b{seed}", hits(0.9, 10 + seed)) for seed in (0, 1)},
        "one seed": {1: run_in(tmp_path / "c1", hits(0.6, 21)), 7: run_in(tmp_path / "c7", hits(0.6, 27))},
        "other images": {seed: run_in(tmp_path / f"d{seed}", hits(0.9, seed), digest="x") for seed in (0, 1)},
        "no seed": {5: run_in(tmp_path / "e5", hits(0.9, 5))},
    }
    pairs = compared(first, others)
    assert list(pairs) == ["same", "one seed"]
    by_hand = paired_difference([hits(0.6, 0), hits(0.6, 1)], [hits(0.9, 10), hits(0.9, 11)])
    assert (pairs["same"].difference, pairs["same"].seeds) == (by_hand.difference, 2)
    assert (pairs["one seed"].seeds, pairs["one seed"].images) == (1, 200)


def test_seeds_with_test_images_of_their_own(tmp_path: Path) -> None:
    """As where each seed orders the classes in its own way."""
    rights = {seed: (hits(0.5, seed), hits(0.8, 10 + seed)) for seed in range(3)}
    labels = {seed: (LABELS + seed) % 4 for seed in range(3)}
    first, second = (
        {seed: run_in(tmp_path / f"{which}{seed}", both[which], labels[seed]) for seed, both in rights.items()}
        for which in (0, 1)
    )
    (pair,) = compared(first, {"other": second}).values()
    means = np.array([[one.mean() for one in both] for both in rights.values()])
    expected = stats.ttest_rel(means[:, 1], means[:, 0])
    assert (pair.seeds, pair.images) == (3, 200)
    assert pair.difference == pytest.approx(float((means[:, 1] - means[:, 0]).mean()))
    assert pair.p == pytest.approx(expected.pvalue)
    assert (pair.low, pair.high) == pytest.approx(expected.confidence_interval(0.95))


def test_an_adaptations_images_are_the_targets(tmp_path: Path) -> None:
    runs = [run_in(tmp_path / name, hits(0.9, 0)) for name in "abc"]
    for run, digest in zip(runs, ("one", "one", "another"), strict=True):
        parts = {"source's test": {"digest": "s"}, "target's test": {"digest": digest}}
        (run / "data.json").write_text(json.dumps(parts))
    one, same, other = (answered(run) for run in runs)
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.asked_as(same)
    assert not one.asked_as(other)
    unknown = run_in(tmp_path / "d", hits(0.9, 0))
    (unknown / "data.json").write_text(json.dumps({"training": {"digest": "t"}}))
    assert answered(unknown) is None  # of which images nobody knows


def test_runs_from_before_there_were_records_of_the_data(tmp_path: Path) -> None:
    runs = [run_in(tmp_path / name, hits(share, 0)) for name, share in (("a", 0.5), ("b", 0.9))]
    for run in runs:
        (run / "data.json").unlink()
    assert compared({0: runs[0]}, {"b": {0: runs[1]}})["b"].second_is_better
    assert "is better than" in write_pair(*runs, tmp_path / "pair.html")


def pictured(path: Path, images: np.ndarray) -> Path:
    """A run tested on files of these images."""
    labels = torch.arange(len(images)) % 4
    names = tuple(f"{number}.png" for number in range(len(images)))
    data = ImageTensors(torch.from_numpy(images), labels, tuple("abcd"), names=names)
    run = run_in(path, np.ones(len(images), bool), labels.numpy())
    (run / "data.json").write_text(json.dumps(data_record({"test": data})))
    return run


def test_files_of_the_same_names_at_another_size_are_looked_at(tmp_path: Path) -> None:
    """The same photos resized by another library, and others whose names and labels are the same."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)
    photos = [Image.fromarray(one).resize((300, 300)) for one in drawn]
    others = photos[1:] + photos[:1]

    def at(size: int, images: list[Image.Image]) -> np.ndarray:
        resized = [np.array(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images]
        return np.stack(resized).transpose(0, 3, 1, 2)

    def grey(size: int) -> np.ndarray:
        return np.stack([np.array(image.resize((size, size)).convert("L")) for image in photos])[:, None]

    small, large = (answered(pictured(tmp_path / str(size), at(size, photos))) for size in (65, 129))
    for size in (30, 50, 64, 128):
        same = answered(pictured(tmp_path / f"grey{size}", grey(size)))
        assert same is not None
        assert small is not None
        assert small.asked_as(same)
    changed = answered(pictured(tmp_path / "changed", at(129, others)))
    assert small is not None
    assert large is not None
    assert changed is not None
    assert small.asked_as(large)
    assert not small.asked_as(changed)
    assert not large.asked_as(changed)


def record(path: Path, root: Path, number: int, validation: float, **settings: object) -> RunRecord:
    summary = {"job": "finetune", "selected": {"val_acc": validation}, "test_acc": 0.5, "seconds": 1.0}
    return RunRecord(number, path.relative_to(root), settings, COMPLETE, "", summary)  # type: ignore[arg-type]


def test_a_sweeps_settings_stand_beside_what_validation_chose(tmp_path: Path) -> None:
    rights = {0: hits(0.5, 0), 1: hits(0.85, 1), 2: hits(0.86, 2)}
    jobs = [
        record(run_in(tmp_path / f"{depth}_{size}", right), tmp_path, depth, 0.5 + 0.1 * (depth == 1),
               **{"thaw.depth": depth, "data.train_size": size, "seed": 0})
        for depth, right in rights.items() for size in (50, 100)
    ]  # fmt: skip
    rows = rows_of(jobs, ["thaw.depth", "data.train_size"])
    pairs = beside_chosen(tmp_path, rows, chosen(rows))
    assert len(pairs) == 4  # two rivals under each condition, and never the chosen one
    expected = [paired_difference(rights[1], rights[depth]) for depth in (0, 2)]
    for size in (50, 100):
        mine = [pairs[id(row)] for row in rows if id(row) in pairs and row.settings["data.train_size"] == size]
        assert [pair.difference for pair in mine] == [pair.difference for pair in expected]
        assert [pair.p for pair in mine] == pytest.approx(holm([pair.p for pair in expected]))


def test_the_studys_grid_says_what_the_chosen_depth_brings(tmp_path: Path) -> None:
    paths = {(size, depth): tmp_path / f"{size}_{depth}" for size in (50, 800) for depth in (0, 2)}
    right = {(50, 0): hits(0.6, 1), (50, 2): hits(0.62, 1), (800, 0): hits(0.6, 2), (800, 2): hits(0.9, 2)}
    jobs = [
        record(
            run_in(path, right[cell]), tmp_path, number, 0.5 + 0.1 * cell[1],
            **{"data.train_size": cell[0], "thaw.depth": cell[1], "seed": 0},
        )
        for number, (cell, path) in enumerate(paths.items())
    ]  # fmt: skip
    said = grid_sentence(rows_of(jobs, ["data.train_size", "thaw.depth"]), tmp_path)
    pairs = [paired_difference(right[size, 0], right[size, 2]) for size in (50, 800)]
    assert not pairs[0].told_apart
    assert pairs[1].told_apart
    assert f"{difference_words(pairs[0])} points over the head alone, cannot be told apart" in said
    assert said.endswith(f"{difference_words(pairs[1])} points over the head alone).")


def test_words_name_no_winner_without_a_test() -> None:
    near, far = hits(0.8, 0), hits(0.3, 1)
    pairs = {"er": paired_difference(near, near), "naive": paired_difference(near, far)}
    said = standing_words(pairs, "der_pp")
    assert "naive is worse than der_pp by more than chance" in said
    assert "er is not to be told apart from der_pp" in said
    assert standing_words({}, "der_pp") == ""
    assert "would tell" not in said  # er and der_pp answer the same
    close = paired_difference(near, np.where(np.arange(200) < 6, ~near, near))
    more = images_to_tell(close.difference, close.discordant, 0.975)
    said = standing_words({"er": close, "naive": pairs["naive"]}, "der_pp")
    assert said.endswith(f"points seen, about {more:,} images would tell.")
    right, other = np.array([True] * 12 + [False] * 188), np.array([False] * 4 + [True] * 14 + [False] * 182)
    alike = paired_difference(right, other)
    words = pair_sentence("A", "B", alike)
    assert words.startswith("A and B cannot be told apart on the same 200 test images: 6.0 % and 7.0 % are right")
    assert "images would tell" in words
    assert pair_sentence("A", "B", paired_difference(near, far)).startswith("A is better than B")


def test_a_page_of_two_runs(tmp_path: Path) -> None:
    right = hits(0.9, 0)
    other = right & (LABELS != 2)  # one class is lost
    said = write_pair(run_in(tmp_path / "A", right), run_in(tmp_path / "<B>", other), tmp_path / "pair.html")
    page = (tmp_path / "pair.html").read_text()
    assert said.startswith("A is better than <B>")
    assert "<B>" not in page
    assert "&lt;B&gt;" in page
    lost = int((right & ~other).sum())
    assert f"<td>{lost}</td>" in page
    first = page[page.index("By class") :].index("<td>c</td>")
    assert all(first < page[page.index("By class") :].index(f"<td>{name}</td>") for name in "abd")


def test_files_of_the_same_names_are_other_images_where_their_pixels_are(tmp_path: Path) -> None:
    def tested(name: str, digest: str, size: int | None) -> Path:
        path = run_in(tmp_path / name, hits(0.9, 0))
        files = [[f"{index}.jpg", int(label), digest] for index, label in enumerate(LABELS)]
        shape = {} if size is None else {"shape": [3, size, size]}
        part = {"classes": ["a", "b", "c", "d"], "files": files, "digest": digest, **shape}
        (path / "data.json").write_text(json.dumps({"test": part}))
        return path

    here, there = tested("here", "1", 64), tested("there", "2", 64)
    with pytest.raises(UserError, match="were tested on other images"):
        write_pair(here, there, tmp_path / "pair.html")
    assert "cannot be told apart" in write_pair(here, tested("larger", "3", 128), tmp_path / "pair.html")
    before = tested("before", "2", None)  # a run of before sizes were recorded
    assert "cannot be told apart" in write_pair(before, here, tmp_path / "pair.html")


def test_runs_on_other_images_are_not_compared(tmp_path: Path) -> None:
    one, two = run_in(tmp_path / "A", hits(0.9, 0)), run_in(tmp_path / "B", hits(0.9, 0), digest="other")
    with pytest.raises(UserError, match="were tested on other images"):
        write_pair(one, two, tmp_path / "pair.html")
    with pytest.raises(UserError, match="has no answers about labelled test images"):
        write_pair(one, tmp_path / "nothing", tmp_path / "pair.html")
    assert not (tmp_path / "pair.html").exists()
