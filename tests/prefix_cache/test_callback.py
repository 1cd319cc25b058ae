"""Fine-tuning from outputs of frozen blocks that are computed once: the same run, with less work."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from torch import Tensor, nn

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, kill_at_batch, predictions, same_finetuning, summary
from tlcl.config.parse import parse_config
from tlcl.config.thaw import ThawSchedule
from tlcl.data.image_tensors import Source
from tlcl.data.sources.registry import load_source
from tlcl.data.versions import Crops, Versions
from tlcl.errors import UserError
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs import finetune as module
from tlcl.jobs import job
from tlcl.jobs.finetune import run
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache import callback as prefix
from tlcl.prefix_cache import probabilities
from tlcl.prefix_cache.activations import Held
from tlcl.prefix_cache.callback import Start, can_serve, starts, worth_caching

TRAIN, VAL, TEST = 64, 20, 50
SMALL = [f"data.train_size={TRAIN}", f"data.val_size={VAL}", "data.crop_padding=0", "trainer.epochs=4"]
# Epoch 0: head, 1 and 2: layer4, 3: everything.
THAWING = [*SMALL, "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]", "+thaw.3=[layer3,layer2,layer1,stem]"]
SETTINGS = {
    "plain": [],
    "flip": ["data.flip=true"],
    "bf16": ["trainer.precision=bf16-mixed"],
    "flip-bf16": ["data.flip=true", "trainer.precision=bf16-mixed"],
    # layer3 leaves one pixel, where both memory formats look alike
    "contiguous": ["trainer.channels_last=false", "model.input_size=16"],
    "lite0": ["model=efficientnet_lite0", "model.weights=none", "model.input_size=32", "data.flip=true"],
}


def short(*arguments: Any) -> Source:
    """With few test images."""
    source = load_source(*arguments)
    test = replace(source.test, images=source.test.images[:TEST], labels=source.test.labels[:TEST])
    return replace(source, test=test)


@pytest.fixture(autouse=True, scope="module")
def _short_runs() -> Iterator[None]:
    """Plots would take longer than the runs; the comparison with the network before would be counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "render", lambda path: path / "report.html")
        patch.setattr(module, "similarities_on", lambda *_: None)
        patch.setattr(module, "load_source", short)
        yield


def trained(path: Path, *overrides: str, name: str = "run") -> Path:
    config = composed(path, *overrides)
    config.run_dir = str(path / name)
    return go(config, run)


def killed(path: Path, monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]], *overrides: str) -> Path:
    """Killed in those batches of those epochs, and each time resumed."""
    for epoch, batch in kills:
        kill_at_batch(monkeypatch, epoch, batch)
        with pytest.raises(Killed):
            trained(path, *overrides)
    return trained(path, *overrides)


def same_run(first: Path, second: Path) -> None:
    same_finetuning(first, second)
    ours, theirs = predictions(first), predictions(second)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture(scope="module")
def uncached(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a setting without a cache, made once."""
    known: dict[str, Path] = {}

    def get(setting: str) -> Path:
        if setting not in known:
            path = tmp_path_factory.mktemp(setting)
            known[setting] = trained(path, *THAWING, *SETTINGS[setting], "data.cache_prefix=off")
            assert summary(known[setting])["prefix_cache"] == []
        return known[setting]

    return get


# The same run


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        *((setting, "auto") for setting in SETTINGS),
        *((setting, mode) for setting in ("plain", "flip-bf16") for mode in ("ram", "disk")),
    ],
)
def test_a_cached_run_equals_an_uncached_one(
    tmp_path: Path, uncached: Callable[[str], Path], setting: str, mode: str
) -> None:
    """To the bit: weights, metrics, optimizer and every probability."""
    path = trained(tmp_path, *THAWING, *SETTINGS[setting], f"data.cache_prefix={mode}")
    same_run(uncached(setting), path)
    versions = 2 if "data.flip=true" in SETTINGS[setting] else 1
    kept_in = {"auto": ["memory", "file"], "ram": ["memory"] * 2, "disk": ["file"] * 2}[mode]
    records = summary(path)["prefix_cache"]
    assert [(line["of"], line["place"], line["images"], line["versions"]) for line in records] == [
        ("train", "layer3", TRAIN, versions),
        ("train", "features", TRAIN, versions),
        ("val", "layer3", VAL, 1),
        ("val", "features", VAL, 1),
    ]
    assert [line["kept_in"] for line in records] == 2 * kept_in
    assert not any(line["found"] for line in records)
    # Nothing is frozen in the end: none of the test images.
    assert len(list((tmp_path / "cache").glob("prefix/*"))) == 2 * kept_in.count("file")


def test_epochs_whose_outputs_have_no_room_train_on_images(
    tmp_path: Path, uncached: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Room for the features, and for layer3 of the validation images alone, which serve validation."""
    room = ["data.cache_prefix=ram", f"data.cache_gib={260_000 / 2**30}"]
    path = trained(tmp_path, *THAWING, *room)
    same_run(uncached("plain"), path)
    records = summary(path)["prefix_cache"]
    places = [(line["of"], line["place"]) for line in records]
    assert places == [("train", "features"), ("val", "layer3"), ("val", "features")]
    (warning,) = [record.getMessage() for record in caplog.records if "data.cache_gib" in record.getMessage()]
    assert "layer3" in warning


# Before a milestone, right at the next, and in the epoch in which nothing is cached any more.
@pytest.mark.parametrize("kills", [[(0, 1)], [(1, 0)], [(2, 1), (3, 1)]], ids=str)
def test_a_resumed_cached_run_equals_an_uninterrupted_one_without(
    tmp_path: Path, uncached: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]
) -> None:
    same_run(uncached("flip"), killed(tmp_path, monkeypatch, kills, *THAWING, *SETTINGS["flip"]))


VIEWS = ["data.crop_padding=2", "data.flip=true", "data.cached_views=3"]


def test_fixed_views_are_the_same_run_wherever_they_are_kept_and_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path, *SMALL, *VIEWS, "thaw.depth=1", "data.cache_prefix=ram", name="whole")
    records = summary(whole)["prefix_cache"]
    assert [(line["of"], line["place"], line["versions"]) for line in records] == [
        ("train", "layer3", 3),
        ("val", "layer3", 1),
    ]
    # With one epoch to go the views are still the run's images.
    on_disk = [*SMALL, *VIEWS, "thaw.depth=1", "data.cache_prefix=disk"]
    same_run(whole, killed(tmp_path, monkeypatch, [(3, 1)], *on_disk))
    new_crops = trained(tmp_path, *SMALL, *VIEWS, "thaw.depth=1", "data.cache_prefix=off", name="new")
    assert (whole / "metrics.jsonl").read_text() != (new_crops / "metrics.jsonl").read_text()


def test_a_resumed_run_goes_on_with_rounded_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*SMALL, "data.flip=true", "data.cache_dtype=bfloat16", "thaw.depth=1"]
    whole = trained(tmp_path, *overrides, name="whole")
    assert {line["dtype"] for line in summary(whole)["prefix_cache"]} == {"bfloat16"}
    same_run(whole, killed(tmp_path, monkeypatch, [(3, 0)], *overrides))


# Less work


class Counter:
    """The sizes of the batches that each block of a run's network computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: dict[str, list[int]] = defaultdict(list)

        def build(*arguments: Any) -> tuple[Blocks, Any]:
            net, backbone = build_model(*arguments)
            for name in net.names[:-1]:
                net.block(name).register_forward_hook(self._hook(name))
            return net, backbone

        monkeypatch.setattr(module, "build_model", build)

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def count(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
            if len(inputs[0]) > 2:  # two images tell what the outputs look like
                self.sizes[name].append(len(inputs[0]))

        return count


EPOCH, ONCE = [32, 32, VAL], [TRAIN, VAL]


def test_a_frozen_block_sees_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the whole run while it is frozen: where a block thaws, the next outputs come from those before."""
    counter = Counter(monkeypatch)
    trained(tmp_path, *SMALL, "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]", "+thaw.3=[layer3]")
    assert counter.sizes == {
        "stem": [*ONCE, TEST],
        "layer1": [*ONCE, TEST],
        "layer2": [*ONCE, TEST],
        # What was trained says once more, by the tested weights, how sure it is of the validation images.
        "layer3": [*ONCE, *EPOCH, TEST, VAL],
        "layer4": [*ONCE, *EPOCH * 3, TEST, VAL],
    }


def test_a_frozen_block_sees_each_mirror_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation has the images alone; the test images' features are kept in a file as well."""
    counter = Counter(monkeypatch)
    trained(tmp_path, *SMALL, "data.flip=true", "thaw.depth=0")
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        assert counter.sizes[name] == [TRAIN, TRAIN, VAL, TEST]


def test_without_a_cache_it_sees_them_in_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter counts."""
    counter = Counter(monkeypatch)
    trained(tmp_path, *SMALL, "thaw.depth=0", "data.cache_prefix=off")
    assert counter.sizes["stem"] == counter.sizes["layer4"] == [*EPOCH * 4, TEST, VAL]


@pytest.fixture(scope="module")
def net() -> Blocks:
    return build_model(parse_config(composed(Path())).model, 10, 0)[0]


def cached(net: Blocks, schedule: ThawSchedule, epochs: int, count: int, first: int = 0) -> list[str]:
    """Where all epochs have the same `count` versions; in the network's order."""
    versions = Versions(count)
    planned = [Start(last_frozen(net, schedule.trainable(epoch)), versions) for epoch in range(epochs)]
    return sorted(worth_caching(planned, first).get(versions, []), key=net.places.index)


SCHEDULE = ThawSchedule({0: ["head"], 2: ["layer4"], 5: ["layer3", "layer2"], 8: ["layer1", "stem"]})


@pytest.mark.parametrize(
    ("epochs", "versions", "places"),
    [
        (1, 1, []),
        (2, 1, ["features"]),
        (2, 2, []),
        (3, 2, ["layer3", "features"]),
        (10, 7, ["layer1", "layer3", "features"]),
        (10, 8, []),  # eight of the ten epochs have frozen blocks
    ],
)
def test_caching_is_worth_it_when_it_saves_epochs(
    net: Blocks, epochs: int, versions: int, places: list[str]
) -> None:
    assert cached(net, SCHEDULE, epochs, versions) == places
    assert cached(net, ThawSchedule.from_depth(5), epochs, versions) == []


@pytest.mark.parametrize(
    ("first", "places"),
    [
        (1, ["layer1", "layer3", "features"]),
        (2, ["layer1", "layer3"]),  # the head alone never trains again
        (7, ["layer1"]),
        (8, []),  # everything is thawed
    ],
)
def test_a_resumed_run_caches_what_is_still_to_come(net: Blocks, first: int, places: list[str]) -> None:
    assert cached(net, SCHEDULE, 10, 7, first) == places
    assert cached(net, SCHEDULE, 10, 8, first) == []


def test_the_head_alone_and_deeper_epochs_have_versions_of_their_own(net: Blocks) -> None:
    """The image and its mirror image first; views once something thaws; each counted by its own epochs."""
    config = parse_config(composed(
        Path(), "data.crop_area=0.5", "data.flip=true", "data.cached_views=3", "trainer.epochs=8",
        "thaw=milestones", "+thaw.0=[head]", "+thaw.3=[layer4]", "+thaw.7=[layer3,layer2,layer1,stem]",
    ))  # fmt: skip
    planned = starts(net, config)
    mirrored, views = Versions(2), Versions(3, Crops(1, 0.5), True, config.seed)  # 1: the digits' own padding
    assert planned == [Start("features", mirrored)] * 3 + [Start("layer3", views)] * 4 + [Start(None, views)]
    assert worth_caching(planned) == {mirrored: ["features"], views: ["layer3"]}
    assert worth_caching(planned[1:]) == {views: ["layer3"]}  # two epochs of two versions
    always = starts(net, replace(config, data=replace(config.data, crop_head=True)))
    assert always[0] == Start("features", views)


# What can be cached


def test_new_crops_are_not_cached_and_one_sentence_says_what_could_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    """Of the training images; those of validation are."""
    path = trained(tmp_path, *SMALL, "data.crop_padding=1", "thaw.depth=1", "trainer.epochs=2")
    assert [line["of"] for line in summary(path)["prefix_cache"]] == ["val"]
    (line,) = [record.getMessage() for record in caplog.records if "data.cached_views" in record.getMessage()]
    assert "data.crop_padding=1" in line
    caplog.clear()
    assert not can_serve(parse_config(composed(tmp_path, "data.cache_prefix=off")))
    assert can_serve(parse_config(composed(tmp_path, "data.crop_padding=1", "thaw.depth=5")))
    assert can_serve(parse_config(composed(tmp_path, "data.crop_padding=0", "trainer.devices=2")))
    assert caplog.text == ""


def test_the_head_alone_learns_from_images_without_crops(tmp_path: Path) -> None:
    """With and without a cache, and the same as where there are none; with crops by key it is another run."""
    runs = {
        name: trained(tmp_path, *SMALL, "thaw.depth=0", "data.flip=true", *overrides, name=name)
        for name, overrides in {
            "none": ["data.crop_padding=0"],
            "cached": ["data.crop_padding=2"],
            "uncached": ["data.crop_padding=2", "data.crop_area=0.5", "data.colour=0.2", "data.cache_prefix=off"],
            "cropped": ["data.crop_padding=2", "data.crop_head=true"],
        }.items()
    }
    same_run(runs["none"], runs["cached"])
    same_run(runs["none"], runs["uncached"])
    assert (runs["none"] / "metrics.jsonl").read_text() != (runs["cropped"] / "metrics.jsonl").read_text()


def test_a_number_of_views_without_crops_changes_nothing(tmp_path: Path, uncached: Callable[[str], Path]) -> None:
    """Each image and its mirror image are all the versions there are."""
    same_run(uncached("flip"), trained(tmp_path, *THAWING, *SETTINGS["flip"], "data.cached_views=4"))


def test_with_new_crops_validation_is_computed_once_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = [*SMALL, "data.crop_area=0.5", "thaw.depth=1"]
    without = trained(tmp_path, *crops, "data.cache_prefix=off", name="without")
    counter = Counter(monkeypatch)
    same_run(without, trained(tmp_path, *crops, name="with"))
    assert counter.sizes["stem"] == [VAL, *EPOCH[:2] * 4, TEST]


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (
            ["data.cache_prefix=ram", "data.crop_padding=2", "thaw.depth=1"],
            ["data.cache_prefix=ram", "data.cached_views"],
        ),
        (
            ["data.cache_prefix=disk", "data.crop_area=0.5", "data.crop_padding=0", "data.crop_head=true"],
            ["data.cache_prefix=disk", "data.crop_area=0.5", "data.crop_area=null"],
        ),
        (["data.cached_views=1", "data.crop_padding=2"], ["data.cached_views=1", "at least 2"]),
        (["data.cache_gib=-1"], ["data.cache_gib=-1", "at least 0"]),
        (["data.cache_prefix=gpu"], ["data.cache_prefix", "auto, off, ram, disk"]),
        (["data.cache_dtype=int8"], ["data.cache_dtype", "float32, bfloat16"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_sentence_that_names_the_key(
    tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(composed(tmp_path, *overrides))
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(("able", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_automatic_precision_is_recorded_as_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, precision: str
) -> None:
    monkeypatch.setattr("tlcl.finetuning.trainer.computes_in_bfloat16", lambda device: able)
    path = trained(tmp_path, *SMALL, "trainer.precision=auto", "trainer.epochs=1")
    assert OmegaConf.load(path / "config.yaml").trainer.precision == precision
    assert summary(path)["precision"] == precision


@pytest.mark.parametrize(
    ("model", "given", "training", "frozen"),
    [
        ("resnet18", "auto", "bf16-mixed", "bf16-mixed"),
        ("efficientnet_lite0", "auto", "bf16-mixed", "bf16-mixed"),
        ("efficientnet_lite0", "32-true", "32-true", "32-true"),
    ],
)
def test_frozen_blocks_have_a_precision_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, given: str, training: str, frozen: str
) -> None:
    monkeypatch.setattr("tlcl.finetuning.trainer.computes_in_bfloat16", lambda device: True)
    config = parse_config(composed(tmp_path, f"model={model}", f"trainer.precision={given}"))
    choose_device(config)
    assert (config.trainer.precision, config.trainer.of_frozen) == (training, frozen)


# Other runs


@pytest.mark.parametrize(("depth", "mode"), [(0, "auto"), (1, "disk")])
def test_another_run_of_the_same_frozen_blocks_finds_the_test_images_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int, mode: str
) -> None:
    """Another seed draws other training images and another head, and the test images stay."""
    # Layer4 differs between the runs and layer3 does not.
    overrides = [*SMALL, f"thaw.depth={depth}", f"data.cache_prefix={mode}", "trainer.epochs=2"]
    first = trained(tmp_path, *overrides, name="first")
    seen: list[dict[str, Held]] = []
    original = prefix.activations

    def noted(*arguments: Any) -> dict[str, Held]:
        seen.append(original(*arguments))
        return seen[-1]

    for caller in (prefix, probabilities):
        monkeypatch.setattr(caller, "activations", noted)
    second = trained(tmp_path, *overrides, f"model.weights={first}", "seed=1", name="second")
    train, val, test = (held["features" if depth == 0 else "layer3"] for held in seen)
    assert (train.found, val.found, test.found) == (False, False, True)
    assert (len(train.values), len(val.values), len(test.values)) == (TRAIN, VAL, TEST)
    assert [line["found"] for line in summary(second)["prefix_cache"]] == [False, False]
    plain = [item for item in overrides if "cache_prefix" not in item]
    third = trained(tmp_path, *plain, "data.cache_prefix=off", f"model.weights={first}", "seed=1", name="third")
    same_run(third, second)
