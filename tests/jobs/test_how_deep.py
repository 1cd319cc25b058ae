"""How deep to retrain: whole races on the embedded digits, against their own records and a plain count."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_call, summary
from tests.sweeps.conftest import fake_plan
from tlcl.config.candidates import candidates
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError
from tlcl.finetuning.fitted_head import fit_head
from tlcl.jobs.race import Asked, folds_of
from tlcl.jobs.race_record import race_record
from tlcl.jobs.shared_start import SharedStart
from tlcl.models.build import build_model
from tlcl.prefix_cache.activations import Keeping
from tlcl.reports.asked import asked_by
from tlcl.reports.how_deep import commands_of, table_lines, verdict, write_how_deep_report
from tlcl.reports.plots.how_deep import gains_figure, learning_curve
from tlcl.reports.sweep import write_sweep_report
from tlcl.statistics.power import images_to_tell
from tlcl.tracking.records import read_lines

# On random weights a deeper model of the digits is better than the head.
RACE = [
    "model=small_cnn", "depth=race", "optim.head=fitted", "optim.name=adamw", "optim.lr=0.005",
    "optim.block_lr_decay=1.0", "optim.batch_norm=frozen", "data.train_size=400", "data.crop_padding=1",
    "data.cached_views=3", "trainer.epochs=60", "depth.folds=4", "depth.steps=20", "model.input_size=16",
    "depth.settings=[1,3,norms]", "depth.curve=[0.25,0.5]",
]  # fmt: skip


def run_in(path: Path, *overrides: str, name: str = "run") -> Path:
    config = composed(path, *RACE, *overrides)
    config.run_dir = str(path / name)
    return go(config)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("raced"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_lines(path / "race.jsonl")]


def test_a_point_is_filled_where_it_could_be_recommended() -> None:
    """What the test of all together tells apart but its own interval does not, is hollow."""
    row = {"depth": 1, "words": "last block", "gain": 0.02, "high": 0.05, "asked": 100, "p": 0.01}
    rows = [
        row | {"setting": "1", "low": 0.01, "better": True}, row | {"setting": "2", "low": -0.01, "better": False},
    ]  # fmt: skip
    (axes,) = gains_figure({"settings": rows, "chosen": "1", "images": 100}).axes
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert [face == "white" for face in faces] == [False, True]


def test_a_point_of_the_learning_curve_is_hollow_where_the_head_may_do_as_well() -> None:
    point = {"head": 0.5, "head_interval": (0.4, 0.6), "deeper": 0.6, "deeper_interval": (0.5, 0.7)}
    points = [{**point, "labels": 10, "told": False}, {**point, "labels": 20, "told": True}]
    (axes,) = learning_curve(points, "deeper").axes
    (hollow,) = (line for line in axes.lines if line.get_markerfacecolor() == "white")
    assert list(hollow.get_xdata()) == [10]
    before = [{**point, "labels": 10}, {**point, "labels": 20}]  # a record of before
    assert not any(line.get_markerfacecolor() == "white" for line in learning_curve(before, "x").axes[0].lines)


def test_the_record_is_what_the_answers_say(raced: Path) -> None:
    """Gains counted here from each training's answers, and the head's from a fit of our own."""
    race, lines = summary(raced)["race"], lines_of(raced)
    config = parse_config(composed(raced.parent, *RACE))
    source = load_source(config.data, str(raced.parent / "cache"))
    data = ImageDataModule(source, config.data, config.seed)
    train = data.split.train
    labels = data.labels[train]
    net, _ = build_model(config.model, 10, 0)
    with torch.inference_mode():
        features = net.eval().features(data.inputs[train])
    folds, right = folds_of(labels, 4, 0), []
    for held in folds:
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[held] = False
        penalty = summary(raced)["first_answer"]["penalty"]
        head = fit_head(features[rest], labels[rest], 10, penalty)
        right.append((head.logits(features[held]).argmax(1) == labels[held]).numpy())
    # The fit ends by a tolerance.
    assert race["head"]["acc"] == pytest.approx(np.concatenate(right).mean(), abs=0.021)
    assert (race["images"], race["of"]) == (400, 4 * len(race["settings"]))
    assert sum(line["share"] == 1 for line in lines) == race["trainings"] <= race["of"]
    for row in race["settings"]:
        mine = [line for line in lines if line["setting"] == row["setting"] and line["share"] == 1]
        assert sum(len(line["right"]) for line in mine) == row["asked"]
        if row["asked"] == 400:
            accuracy = sum(line["right"].count("1") for line in mine) / 400
            assert row["gain"] == pytest.approx(accuracy - race["head"]["acc"])
            assert row["low"] <= row["gain"] <= row["high"]
        assert row["better"] == (row["gain"] is not None and row["p"] < 0.05 and row["low"] > 0)


def test_deeper_is_recommended_where_it_is_better(raced: Path) -> None:
    found = summary(raced)
    race = found["race"]
    row = next(row for row in race["settings"] if row["setting"] == race["chosen"])
    assert row["gain"] > 0
    assert row["p"] < 0.05
    assert "Retrain" in verdict(found)
    assert [point["labels"] for point in found["curve"]] == [75, 150, 300]
    assert all(point["deeper"] is not None for point in found["curve"])
    for point in found["curve"]:
        assert point["gain"] == pytest.approx(point["deeper"] - point["head"])
        assert point["gain_interval"][0] <= point["gain"] <= point["gain_interval"][1]
        assert not point["told"] or point["gain_interval"][0] > 0
    page = (raced / "report.html").read_text()
    assert verdict(found).split(":")[0] in page
    assert (raced / "plots" / "gains.png").is_file()
    assert (raced / "plots" / "learning_curve.png").is_file()
    assert len(table_lines(found)) == 2 + len(race["settings"])


def test_a_resumed_race_is_the_same(
    raced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at_call(monkeypatch, SharedStart, "train", 4)
    with pytest.raises(Killed):
        run_in(tmp_path)
    assert len(lines_of(tmp_path / "run")) == 4
    page = write_how_deep_report(tmp_path / "run").read_text()
    assert re.search(r"Trainings that are done: 4 \((1|3|norms): \d, ", page), "a stopped race shows how far it is"
    assert "tlcl train +resume=" in page
    config = composed(tmp_path, *RACE)
    config.run_dir = str(tmp_path / "run")
    go(config)
    assert lines_of(tmp_path / "run") == lines_of(raced)
    one, two = summary(raced)["race"], summary(tmp_path / "run")["race"]
    for first, second in zip(one["settings"], two["settings"], strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert one["chosen"] == two["chosen"]


def test_no_test_image_has_a_say(raced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlcl.jobs import how_deep

    def shuffled(*arguments: Any) -> Any:
        source = load_source(*arguments)
        order = torch.randperm(len(source.test), generator=torch.Generator().manual_seed(1))
        return type(source)(source.pool, type(source.test)(
            source.test.images, source.test.labels[order], source.test.classes
        ))  # fmt: skip

    monkeypatch.setattr(how_deep, "load_source", shuffled)
    assert lines_of(run_in(tmp_path)) == lines_of(raced)


def test_without_a_race_everybody_is_asked_about_everything(tmp_path: Path) -> None:
    path = run_in(tmp_path, "depth.race=false", "depth.settings=[1,norms]", "depth.curve=[]", "trainer.epochs=1")
    race = summary(path)["race"]
    assert [row["asked"] for row in race["settings"]] == [400, 400]
    assert race["trainings"] == race["of"] == 8
    assert summary(path)["curve"] == []
    assert not (path / "plots" / "learning_curve.png").exists()


def test_shared_outputs_give_what_images_give(tmp_path: Path) -> None:
    """A training from the outputs of frozen blocks is the training from the images, of one version each."""
    config = parse_config(composed(tmp_path, *RACE, "data.crop_padding=0", "data.flip=false"))
    source = load_source(config.data, str(tmp_path / "cache"))
    rows, labels = torch.arange(60), source.pool.labels[:60]
    answers = []
    for mode in ("off", "ram"):
        net, _ = build_model(config.model, 10, 0)
        images = ImageSubset(source.pool.images, torch.arange(60))
        start = SharedStart(config, net, images, labels, 10, torch.device("cpu"))
        own = start.config_for(candidates([2], net.names)[0].thaw, 60, 6)
        keeping = Keeping(mode, 10**9, "float32", tmp_path)
        start.fill([own], keeping)
        assert bool(start.views) == (mode == "ram")
        head = fit_head(torch.randn(60, net.classifier.in_features, generator=torch.Generator().manual_seed(0)),
                        labels, 10, 1.0)  # fmt: skip
        start.train(own, rows, head)
        answers.append(start.logits(own, rows))
    assert torch.equal(*answers)


ASKED = {
    None: ["thaw=head_only"],
    "2": ["thaw.depth=2", "optim.head=lp_ft"],
    "first": ["thaw=milestones", "thaw.blocks=[stem,head]", "optim.head=lp_ft"],
    "norms": ["thaw.depth=all", "thaw.only=norms"],
}
NAMES = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


def recommended(chosen: str | None, asked: list[str]) -> list[str]:
    field = [
        {"setting": one.name, "depth": one.depth, "overrides": list(one.overrides), "epochs": 9}
        for one in candidates([], NAMES)
    ]  # fmt: skip
    return shlex.split(commands_of({"race": {"settings": field, "chosen": chosen}}, asked)[0][1])


@pytest.mark.parametrize("chosen", ASKED)
def test_the_recommended_command_trains_as_the_race_did(chosen: str | None) -> None:
    asked = ["+experiment=how_deep", 'data.train="my photos"', "depth.folds=4", "seed=3", "run_dir=x"]
    words = recommended(chosen, ["tlcl", "train", *asked])
    assert words[:4] == ["tlcl", "train", "+experiment=own_images", 'data.train="my photos"']
    assert set(ASKED[chosen]) <= set(words)
    assert not any(word.startswith(("depth.", "run_dir")) for word in words)
    config, raced = parse_config(composed_config(words[2:])), parse_config(composed_config(asked))
    wanted = {
        None: {"head"}, "2": {"layer3", "layer4", "head"}, "first": {"stem", "head"}, "norms": set(NAMES),
    }[chosen]  # fmt: skip
    assert config.schedule.trainable(0) == wanted
    assert (config.seed, config.depth) == (3, None)
    if chosen is None:
        return
    assert (config.data, config.model) == (raced.data, raced.model)
    assert vars(config.optim) == {**vars(raced.optim), "head": "lp_ft"}
    assert vars(config.trainer) == {**vars(raced.trainer), "epochs": 9}
    assert raced.trainer.patience is None


def test_a_question_without_the_preset_has_a_command_too() -> None:
    asked = ["data=digits", "depth=race", "optim.head=fitted", "optim.lr=0.1", "depth.folds=4", "hydra.verbose=0"]
    assert recommended("2", ["tlcl-train", *asked]) == [
        "tlcl", "train", "data=digits", "optim.lr=0.1", "thaw.depth=2", "optim.head=lp_ft", "trainer.epochs=9",
        "trainer.patience=null", "trainer.select=last",
    ]  # fmt: skip
    words = recommended(None, ["python", "-m", "tlcl.train", "-m", *asked, "+optim.block_lr.layer4=0.1"])
    assert words[:3] == ["python", "-m", "tlcl.train"]
    assert words[3:] == ["data=digits", "optim.head=fitted", "thaw=head_only"]
    composed_config(words[3:])


def test_a_job_of_a_sweep_has_its_own_command(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"command": "tlcl train -m seed=0,1"}))
    (tmp_path / "job.json").write_text(json.dumps({"number": 1, "overrides": ["+experiment=how_deep", "seed=1"]}))
    assert recommended(None, asked_by(tmp_path)) == [
        "tlcl", "train", "+experiment=own_images", "seed=1", "thaw=head_only"
    ]  # fmt: skip


def test_a_sweep_of_races_shows_what_each_recommends(raced: Path, tmp_path: Path) -> None:
    """Accuracy on the folds' held-out images, that of the head alone, and the gain; no test figure."""
    race = summary(raced)["race"]
    shutil.copytree(raced, tmp_path / "0")
    shutil.copytree(raced, tmp_path / "1")
    kept = {**summary(raced), "race": {**race, "chosen": None}}
    (tmp_path / "1" / "summary.json").write_text(json.dumps(kept))
    fake_plan(tmp_path, [[*RACE, "model=small_cnn"], [*RACE, "model=resnet18"]])
    for number, model in enumerate(("small_cnn", "resnet18")):
        job = {"number": number, "overrides": ["+experiment=how_deep", f"model={model}"]}
        (tmp_path / str(number) / "job.json").write_text(json.dumps(job))
    page = write_sweep_report(tmp_path).read_text()
    with open(tmp_path / "sweep.csv") as file:
        deeper, head = csv.DictReader(file)
    gain = next(row["gain"] for row in race["settings"] if row["setting"] == race["chosen"])
    assert float(deeper["validation"]) == pytest.approx(race["head"]["acc"] + gain)
    assert (float(deeper["head_acc"]), float(deeper["gain"])) == pytest.approx((race["head"]["acc"], gain))
    assert float(head["validation"]) == float(head["head_acc"]) == pytest.approx(race["head"]["acc"])
    assert (float(head["gain"]), deeper["chosen"], head["chosen"]) == (0, "True", "False")
    assert (deeper["test"], head["test"]) == ("", "")
    assert "<th>test, %</th>" not in page
    assert "test accuracy" not in page
    assert "gain over it, points" in page
    assert "train what is better" in page
    assert "more than chance, % of runs" in page
    assert (float(deeper["found"]), float(head["found"])) == (1, 0)
    assert "tlcl predict" not in page


def test_batch_norm_is_as_the_training_left_it(tmp_path: Path) -> None:
    """Frozen statistics are those of the start after training and counting; learned ones are the training's."""
    answers = []
    for mode in ("frozen", "train"):
        config = parse_config(
            composed(tmp_path, *RACE, "model=resnet18_cifar", f"optim.batch_norm={mode}", "data.flip=false")
        )
        source = load_source(config.data, str(tmp_path / "cache"))
        net, _ = build_model(config.model, 10, 0)
        first = {key: value.clone() for key, value in net.state_dict().items() if "running" in key}
        start = SharedStart(
            config, net, ImageSubset(source.pool.images, torch.arange(40)), source.pool.labels[:40], 10,
            torch.device("cpu"),
        )  # fmt: skip
        own = start.config_for(candidates(["all"], net.names)[0].thaw, 40, 2)
        assert start.step_bytes(own) > 0
        assert all(torch.equal(net.state_dict()[key], value) for key, value in first.items())
        head = fit_head(torch.zeros(40, 512), source.pool.labels[:40], 10, 1.0)
        start.train(own, torch.arange(40), head)
        trained = {key: value.clone() for key, value in net.state_dict().items()}
        start.logits(own, torch.arange(5))
        assert all(torch.equal(net.state_dict()[key], value) for key, value in trained.items())
        answers.append(all(torch.equal(trained[key], value) for key, value in first.items()))
    assert answers == [True, False]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["depth.settings=[9]"], "depth.settings has 9; a setting is a depth from 1 to 4, the name"),
        (["depth.settings=[true]"], "depth.settings has True"),
        (["depth.settings=[1,1]"], "depth.settings has 1 twice$"),
        (["depth.settings=[4,all]"], "depth.settings has 4 twice (4 and all are the same)"),
        (["depth.curve=[1.5]"], "depth.curve has 1.5"),
        (["thaw.depth=2"], "thaw=head_only"),
        (["optim.head=new"], "optim.head=fitted"),
        (["optim.ema=0.9"], "optim.ema=0"),
        (["continual=class_incremental", "method=naive"], "leave out one of them"),
        (["trainer.devices=2"], "depth works in one process"),
        (["data.train_size=14", "depth.folds=8"], "depth.folds=8 leaves less than two of the 14 labelled images"),
        (["data.train_size=11"], "11 labelled images cannot compare anything; it takes 12"),
    ],
)
def test_mistakes_are_one_sentence(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.sub(r"([.\[()])", r"\\\1", words)):
        run_in(tmp_path, *overrides)
    assert not (tmp_path / "run").exists()


def test_few_images_tell_nothing_and_long_shots_are_asked_only_where_they_are_named(tmp_path: Path) -> None:
    few = ["data.train_size=20", "trainer.epochs=1", "depth.curve=[]", "depth.steps=1"]
    named = summary(run_in(tmp_path / "named", *few, "depth.settings=[1,norms]"))["race"]
    assert all(row["asked"] >= 3 for row in named["settings"])
    path = run_in(tmp_path, *few, "depth.settings=[]")
    found = summary(path)
    assert not any(row["better"] for row in found["race"]["settings"])
    assert "cannot be told apart" in verdict(found)
    assert json.loads((path / "summary.json").read_text())["status"] == "complete"
    assert found["race"]["settings"][-1]["out"] == {"why": "few", "after": 0}
    assert table_lines(found)[-1].split("  ")[-1] == "not asked: too few images a fold"
    assert "not asked: too few images a fold" in (path / "report.html").read_text()


class Raced:
    """What a race leaves to its record: gains of three settings over a head that is right where a `-` stands."""

    def __init__(self, *rows: str) -> None:
        gains = np.array([[{"+": 1.0, "-": -1.0, "0": 0.0, ".": np.nan}[one] for one in row] for row in rows])
        dealt = np.arange(gains.shape[1]) % 6  # each image to the next fold
        self.gains = gains[:, dealt.argsort(kind="stable")]
        self.folds = [range((dealt == fold).sum()) for fold in range(6)]
        self.field = candidates([1, 2, "all"], NAMES)[: len(rows)]
        self.images = self.gains.shape[1]
        self.head_right = (np.nan_to_num(self.gains).min(0) < 0).astype(float)
        self.raced = [Asked(one.name, 0, 1.0, "", 2.0, 100, 9) for one in self.field]
        self.out: dict[str, Any] = {}
        self.config = SimpleNamespace(seed=0)


def said_of(*rows: str, labelled: int = 50) -> tuple[dict[str, Any], str]:
    race = Raced(*rows)
    record = race_record(race, labelled)  # type: ignore[arg-type]
    return record, verdict({"race": record})


def test_what_cannot_be_told_apart_is_called_a_guess() -> None:
    """Six for and one against of 50: exact two-sided p is 0.125. The command of the guess, and that of the head."""
    record, said = said_of("+" * 6 + "-" + "0" * 43, "+" * 3 + "000-" + "0" * 43)
    assert (record["chosen"], record["settings"][0]["better"]) == ("1", False)
    assert said.startswith(
        "Deeper cannot be told apart from the head alone. The better guess is to retrain from layer4 on (depth 1): "
        "+10.0 ("
    )
    # At two tests, less the 50 there are; Connor's equation, of the normal test, has a few less.
    needed = ((norm.ppf(0.9875) * 0.14**0.5 + norm.ppf(0.8) * 0.13**0.5) / 0.1) ** 2
    assert record["more_labels"] == images_to_tell(0.1, 0.14, 0.975) - 50
    assert 0 <= record["more_labels"] + 50 - needed < 20
    assert said.endswith(f"about {record['more_labels']} more labels would tell.")
    guess, head = commands_of({"race": record}, ["tlcl", "train", "+experiment=how_deep"])
    assert (guess[0], head[0]) == ("train the better guess", "or keep the head")
    assert "thaw.depth=1" in guess[1]
    assert head[1] == "tlcl train +experiment=own_images thaw=head_only"


def test_what_is_told_apart_goes_before_what_only_looks_better() -> None:
    """Seven for and none against; fifteen for and seven against gains more, and could be chance."""
    record, said = said_of("+" * 7 + "0" * 43, "+" * 15 + "-" * 7 + "0" * 28)
    gains = [row["gain"] for row in record["settings"]]
    assert gains == pytest.approx([0.14, 0.16])
    assert [row["better"] for row in record["settings"]] == [True, False]
    assert record["chosen"] == "1"
    assert said.startswith("Retrain from layer4 on (depth 1): +14.0 (")
    assert record["more_labels"] is None
    assert [words for words, _ in commands_of({"race": record}, ["tlcl"])] == ["train what is better"]


def test_what_one_lucky_training_gains_is_no_finding() -> None:
    """Eight for and none against: all in one fold, or over all of them."""
    luck = ("+" + "0" * 5) * 8 + "00"
    record, said = said_of(luck)
    (row,) = record["settings"]
    assert (row["p"] > 0.05, row["better"], row["gain"]) == (True, False, 0.16)
    images, folds = 0.16 * 0.84 / 49, np.var([8 / 9, 0, 0, 0, 0, 0], ddof=1) / 6
    random, parts = np.random.default_rng(0), ((folds - images, 5), (images, 49))
    drawn = sum(np.sqrt(part) * random.standard_t(free, 400_000) for part, free in parts)
    assert 0.16 - row["low"] == pytest.approx(np.quantile(np.abs(drawn), 0.95), rel=0.01)
    assert said.startswith("Deeper cannot be told apart from the head alone. The better guess")
    record, said = said_of("+" * 8 + "0" * 42)
    assert record["settings"][0]["better"]


def test_nothing_expected_keeps_the_head() -> None:
    record, said = said_of("+" * 26 + "-" * 24 + "0" * 950, "+" + "." * 999, labelled=1000)
    # Of a thousand images a gain of 0.2 points weighs 32 times as much as the 3 +- 4 points of elsewhere.
    variance = (50 + 0.5) / 1001 / 1000
    expected = (0.002 / variance + 0.03 / 0.04**2) / (1 / variance + 1 / 0.04**2)
    assert record["settings"][0]["expected"] == pytest.approx(expected)
    assert 0.002 < expected < 0.005
    assert (record["chosen"], record["more_labels"]) == (None, None)
    assert said.startswith("Keep the head: deeper cannot be told apart from it; the nearest")
    assert "has +0.2 (" in said
    assert said.endswith("points on 1,000 held-out images.")
    assert [words for words, _ in commands_of({"race": record}, ["tlcl"])] == ["keep the head"]


def test_of_few_images_what_was_gained_elsewhere_says_more_than_they_do() -> None:
    record, said = said_of("+" * 3 + "-" * 4 + "0" * 43)
    variance = (7 + 0.5) / 51 / 50
    expected = (-0.02 / variance + 0.03 / 0.04**2) / (1 / variance + 1 / 0.04**2)
    assert (record["chosen"], record["settings"][0]["expected"]) == ("1", pytest.approx(expected))
    assert "to retrain from layer4 on (depth 1): -2.0 (" in said
    more = f"with what such depths gained on other images, +{100 * expected:.1f} are expected."
    assert said.endswith(f"points on 50 held-out images; so few images say little; {more}")
    record, said = said_of("-" * 9 + "0" * 41)
    assert record["chosen"] is None


def test_a_setting_that_was_not_asked_everything_is_no_finding() -> None:
    """Nineteen for and none against, then no memory was left: nothing is said of it but what happened."""
    record, said = said_of("+" * 19 + "." * 31, "0" * 50)
    assert record["settings"][0]["p"] < 0.001
    assert not record["settings"][0]["better"]
    assert record["chosen"] is None
    race = Raced("+" * 19 + "." * 31)
    race.out["1"] = {"why": "stopped", "after": 3}
    said = verdict({"race": race_record(race, 50)})  # type: ignore[arg-type]
    assert said.startswith("Keep the head: from layer4 on (depth 1), with +100.0 (")
    assert said.endswith("points on 19 of 50 held-out images, could not be trained to the end.")


def test_what_was_not_asked_has_no_say() -> None:
    """Neither in how many are tested together, nor in how many labels would tell."""
    record, said = said_of("+" * 7 + "0" * 43, "." * 50)
    assert "more than chance (p = " in said
    record, _ = said_of("+" * 6 + "-" + "0" * 43, "." * 50)
    assert record["more_labels"] == images_to_tell(0.1, 0.14) - 50


def test_of_some_of_the_labelled_images_no_more_are_named() -> None:
    record, said = said_of("+" * 6 + "-" + "0" * 43, labelled=80)
    assert record["more_labels"] is None
    assert "points on 50 held-out images (50 of the 80 labelled); " in said


def test_a_race_that_began_with_all_of_them_goes_on_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the version before, on few images, with a line of `norms`."""
    few = ["data.train_size=20", "depth.settings=[1,norms]", "trainer.epochs=1", "depth.curve=[]"]
    kill_at_call(monkeypatch, SharedStart, "train", 1)
    with pytest.raises(Killed):
        run_in(tmp_path, *few)
    (line,) = read_lines(tmp_path / "run" / "race.jsonl")
    with open(tmp_path / "run" / "race.jsonl", "a") as file:
        file.write(json.dumps({**line, "setting": "norms"}) + "\n")
    race = summary(run_in(tmp_path, *few))["race"]
    assert race["settings"][1]["asked"] > 0
    assert race["trainings"] >= 2


def test_without_a_race_few_images_ask_everything(tmp_path: Path) -> None:
    few = ["data.train_size=20", "depth.settings=[1,norms]", "trainer.epochs=1", "depth.curve=[]"]
    race = summary(run_in(tmp_path, *few, "depth.race=false"))["race"]
    assert [row["asked"] for row in race["settings"]] == [20, 20]


def test_a_guess_is_called_one_on_the_page(raced: Path, tmp_path: Path) -> None:
    shutil.copytree(raced, tmp_path / "run")
    found = summary(raced)
    for row in found["race"]["settings"]:
        row["better"] = False
    (tmp_path / "run" / "summary.json").write_text(json.dumps(found))
    page = write_how_deep_report(tmp_path / "run").read_text()
    assert "The better guess is to retrain" in page
    assert "train the better guess" in page
    assert "or keep the head" in page
    assert "Retrain " not in page.split("<h2>")[0]


def test_among_equal_guesses_the_cheapest() -> None:
    record, _ = said_of("+" + "0" * 49, "0+" + "0" * 48)
    assert record["chosen"] == "1"
