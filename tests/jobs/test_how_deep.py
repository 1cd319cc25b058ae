"""How deep to retrain: whole races on the embedded digits, against their own records and a plain count."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_call, summary
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError
from tlcl.finetuning.fitted_head import fit_head
from tlcl.jobs.candidates import candidates
from tlcl.jobs.race import folds_of
from tlcl.jobs.shared_start import SharedStart
from tlcl.models.build import build_model
from tlcl.prefix_cache.activations import Keeping
from tlcl.reports.how_deep import command_of, table_lines, verdict
from tlcl.tracking.records import read_lines

# On random weights a deeper model of the digits is better than the head.
RACE = [
    "model=small_cnn", "depth=race", "optim.head=fitted", "optim.name=adamw", "optim.lr=0.005",
    "optim.block_lr_decay=1.0", "optim.batch_norm=frozen", "data.train_size=400", "data.crop_padding=1",
    "data.cached_views=3", "trainer.epochs=30", "depth.folds=3", "depth.steps=20", "model.input_size=16",
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
    folds, right = folds_of(labels, 3, 0), []
    for held in folds:
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[held] = False
        penalty = summary(raced)["first_answer"]["penalty"]
        head = fit_head(features[rest], labels[rest], 10, penalty)
        right.append((head.logits(features[held]).argmax(1) == labels[held]).numpy())
    # The fit ends by a tolerance.
    assert race["head"]["acc"] == pytest.approx(np.concatenate(right).mean(), abs=0.021)
    assert (race["images"], race["of"]) == (400, 3 * len(race["settings"]))
    assert sum(line["share"] == 1 for line in lines) == race["trainings"] <= race["of"]
    for row in race["settings"]:
        mine = [line for line in lines if line["setting"] == row["setting"] and line["share"] == 1]
        assert sum(len(line["right"]) for line in mine) == row["asked"]
        if row["asked"] == 400:
            accuracy = sum(line["right"].count("1") for line in mine) / 400
            assert row["gain"] == pytest.approx(accuracy - race["head"]["acc"])
            assert row["low"] <= row["gain"] <= row["high"]


def test_deeper_is_recommended_where_it_is_better(raced: Path) -> None:
    found = summary(raced)
    race = found["race"]
    row = next(row for row in race["settings"] if row["setting"] == race["chosen"])
    assert row["gain"] > 0
    assert row["p"] < 0.05
    assert "Retrain" in verdict(found)
    assert [point["labels"] for point in found["curve"]] == [67, 134, 267]
    assert all(point["deeper"] is not None for point in found["curve"])
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
    assert race["trainings"] == race["of"] == 6
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


@pytest.mark.parametrize("chosen", ASKED)
def test_the_recommended_command_can_be_given(chosen: str | None) -> None:
    names = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    field = [vars(one) | {"setting": one.name, "overrides": list(one.overrides), "epochs": 9}
             for one in candidates([], names)]  # fmt: skip
    summary = {"race": {"settings": field, "chosen": chosen}, "optim_lr": 0.0005}
    asked = "tlcl train +experiment=how_deep 'data.train=\"my photos\"' depth.folds=4 seed=3 run_dir=x logger=none"
    words = shlex.split(command_of(summary, asked))
    assert words[:4] == ["tlcl", "train", "+experiment=own_images", 'data.train="my photos"']
    assert set(ASKED[chosen]) <= set(words)
    assert not any(word.startswith(("depth.", "run_dir")) for word in words)
    config = parse_config(composed_config(words[2:]))
    wanted = {
        None: {"head"}, "2": {"layer3", "layer4", "head"}, "first": {"stem", "head"}, "norms": set(names),
    }[chosen]  # fmt: skip
    assert config.schedule.trainable(0) == wanted
    assert (config.seed, config.depth) == (3, None)
    assert config.trainer.epochs == (8 if chosen is None else 9)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["depth.settings=[9]"], "depth.settings has 9; a setting is a depth from 1 to 4, all, first"),
        (["depth.settings=[true]"], "depth.settings has True"),
        (["depth.settings=[1,1]"], "depth.settings has 1 twice"),
        (["depth.curve=[1.5]"], "depth.curve has 1.5"),
        (["thaw.depth=2"], "thaw=head_only"),
        (["optim.head=new"], "optim.head=fitted"),
        (["optim.ema=0.9"], "optim.ema=0"),
        (["continual=class_incremental", "method=naive"], "leave out one of them"),
        (["data.train_size=11"], "11 labelled images are too few"),
    ],
)
def test_mistakes_are_one_sentence(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words.replace(".", r"\.").replace("[", r"\[")):
        run_in(tmp_path, *overrides)
    assert not (tmp_path / "run").exists()


def test_a_few_images_keep_the_head(tmp_path: Path) -> None:
    path = run_in(tmp_path, "data.train_size=20", "depth.settings=[1]", "trainer.epochs=1", "depth.curve=[]")
    found = summary(path)
    assert found["race"]["chosen"] is None
    assert verdict(found).startswith("Keep the head")
    assert json.loads((path / "summary.json").read_text())["status"] == "complete"
