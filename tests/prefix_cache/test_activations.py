"""Outputs of frozen blocks: the network's own to the bit, kept within bounds, and found again by content alone."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ROOT, composed
from tlcl.config.parse import parse_config
from tlcl.config.schema import DataConfig
from tlcl.config.thaw import ThawSchedule
from tlcl.data.augment import random_flip, random_version
from tlcl.data.versions import Crops, Versions
from tlcl.models.blocks import FEATURES, Blocks
from tlcl.models.build import build_model
from tlcl.models.efficientnet_lite0 import EfficientNetLite0Config
from tlcl.models.resnet18 import ResNet18Config
from tlcl.models.tail import Tail, last_frozen
from tlcl.prefix_cache import activations as module
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations
from tlcl.system.mapped_file import UNUSED_DAYS, build_mapped, open_mapped

IMAGES = torch.randint(0, 256, (11, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ORIGINAL = Versions(1)
MIRRORED = Versions(2)
VIEWS = Versions(3, Crops(2), flip=True, seed=5)
FIVE_SIGMA = 5.0
HASH = "0" * 32


def network(name: str = "resnet18", size: int = 32, channels_last: bool = True) -> Blocks:
    """In eval, with BatchNorm statistics that are not the initial ones."""
    config = (
        ResNet18Config(name=name, weights="none", input_size=size)
        if name == "resnet18"
        else EfficientNetLite0Config(name=name, weights="none", input_size=size)
    )
    net = build_model(config, 10, 0)[0]
    with torch.no_grad():
        net.train()(IMAGES)
    return net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format).eval()


@pytest.fixture(scope="module")
def resnet() -> Blocks:
    """Not to be changed."""
    return network()


def frozen(
    net: Blocks, images: Tensor = IMAGES, versions: Versions = ORIGINAL, precision: str = "32-true"
) -> FrozenBlocks:
    return FrozenBlocks(net, images, versions, torch.device("cpu"), precision, progress=False)


def keep(folder: Path, mode: str = "ram", budget: int = 2**30, dtype: str = "float32") -> Keeping:
    return Keeping(mode, budget, dtype, folder)


def direct(net: Blocks, inputs: Tensor, stop: str | None, precision: str = "32-true", **where: str) -> Tensor:
    """What the network itself computes of one batch."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        result: Tensor = net(inputs, stop=stop, **where)
        return result


def one(blocks: FrozenBlocks, place: str, keeping: Keeping) -> Held:
    return activations(blocks, [place], keeping)[place]


def never(*_: object) -> None:
    pytest.fail("computed again")


# Values


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_every_place_holds_the_networks_own_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    """From the place before, from the images, and in batches of another size: equal to the bit."""
    net = network(name)
    places = net.places[:-1]
    chained = activations(frozen(net, precision=precision), places, keep(tmp_path))
    monkeypatch.setattr(module, "BATCH", 5)  # 11 images: batches of 5 and 6
    assert list(chained) == list(places)
    for place in places:
        own = direct(net, IMAGES, place, precision)
        kept = torch.float32 if place == FEATURES else own.dtype
        for held in (chained[place], one(frozen(net, precision=precision), place, keep(tmp_path, "disk"))):
            assert held.values.dtype == kept
            assert held.values.requires_grad is False
            assert torch.equal(held.values, own.to(kept)), place


def test_mirror_images_are_the_second_version(tmp_path: Path, resnet: Blocks) -> None:
    held = activations(frozen(resnet, versions=MIRRORED), ["stem", "layer3", FEATURES], keep(tmp_path))
    for place, both in held.items():
        assert both.values.shape[:2] == (11, 2)
        assert torch.equal(both.version(0), direct(resnet, IMAGES, place))
        assert torch.equal(both.version(1), direct(resnet, IMAGES.flip(-1), place))


def rendered(versions: Versions, number: int) -> Tensor:
    return torch.cat(list(versions.render(iter([IMAGES]), number)))


def test_fixed_views_follow_from_the_seed_and_not_from_the_place(tmp_path: Path, resnet: Blocks) -> None:
    views = [rendered(VIEWS, number) for number in range(VIEWS.count)]
    assert torch.equal(views[0], IMAGES)
    assert not torch.equal(views[1], views[2])
    assert torch.equal(views[1], rendered(VIEWS, 1))
    assert not torch.equal(views[1], rendered(replace(VIEWS, seed=6), 1))
    held = activations(frozen(resnet, versions=VIEWS), ["layer1", FEATURES], keep(tmp_path))
    for place, all_views in held.items():
        for number, images in enumerate(views):
            assert torch.equal(all_views.version(number), direct(resnet, images, place))


@pytest.mark.parametrize(
    ("settings", "versions"),
    [
        ({}, ORIGINAL),
        ({"flip": True}, MIRRORED),
        ({"crop_padding": 1}, None),
        ({"crop_padding": 1, "flip": True}, None),
        ({"crop_padding": 2, "flip": True, "cached_views": 4}, Versions(4, Crops(2), True, seed=7)),
    ],
)
def test_versions_are_what_the_augmentation_draws_from(settings: dict[str, int], versions: Versions | None) -> None:
    assert Versions.of(DataConfig("digits", **settings), seed=7, cropped=True) == versions  # type: ignore[arg-type]


def test_two_versions_are_drawn_as_flips_are() -> None:
    images = torch.randint(0, 256, (500, 3, 4, 5), dtype=torch.uint8)
    for seed in range(3):
        flips, versions = (torch.Generator().manual_seed(seed) for _ in range(2))
        both = torch.stack([images, images.flip(-1)], 1)
        assert torch.equal(random_flip(images, flips), random_version(both, versions))
        assert torch.equal(flips.get_state(), versions.get_state())


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_version_is_as_likely(count: int) -> None:
    examples = 6000
    numbers = torch.arange(examples * count).view(examples, count, 1)  # each says which example and version it is
    drawn = random_version(numbers, torch.Generator().manual_seed(0))
    assert drawn.shape == (examples, 1)
    assert torch.equal(drawn[:, 0] // count, torch.arange(examples))
    times = (drawn[:, 0] % count).bincount(minlength=count)
    deviation = (examples * (1 / count) * (1 - 1 / count)) ** 0.5
    assert (times - examples / count).abs().max() < FIVE_SIGMA * deviation


# The rest of the network


# 16 pixels: layer3 leaves one, where both memory formats look alike.
@pytest.mark.parametrize(("size", "channels_last"), [(32, True), (32, False), (16, True), (16, False)])
@pytest.mark.parametrize("versions", [ORIGINAL, MIRRORED], ids=["one", "mirrored"])
def test_the_tail_of_the_outputs_is_the_network(
    tmp_path: Path, size: int, channels_last: bool, versions: Versions
) -> None:
    """Of several versions it takes the image itself."""
    net = network(size=size, channels_last=channels_last)
    logits = direct(net, IMAGES, None)
    held = activations(frozen(net, versions=versions), net.places[:-1], keep(tmp_path))
    for place, outputs in held.items():
        tail = Tail(net, place, outputs.version(0).ndim, channels_last=channels_last)
        with torch.inference_mode():
            assert torch.equal(tail(outputs.values), logits), place
            assert torch.equal(net(outputs.version(0), start=place), logits), place
            assert torch.equal(tail.features(outputs.values), direct(net, IMAGES, FEATURES)), place


def test_the_tails_modules_are_the_networks(resnet: Blocks) -> None:
    tail = Tail(resnet, "layer3", 4, channels_last=True)
    theirs = [*resnet.block("layer4").parameters(), *resnet.block("head").parameters()]
    assert [id(parameter) for parameter in tail.parameters()] == [id(parameter) for parameter in theirs]
    assert list(tail.parts) == ["layer4", FEATURES, "head"]
    last = Tail(resnet, FEATURES, 2, channels_last=True)
    assert [name for name, _ in last.named_parameters()] == ["parts.head.0.weight", "parts.head.0.bias"]
    assert next(iter(last.parameters())) is resnet.classifier.weight


def test_training_starts_before_the_first_of_any_blocks(resnet: Blocks) -> None:
    """A gap of frozen blocks further on is computed in every step, as what comes before it changes."""
    assert last_frozen(resnet, frozenset({"layer1", "head"})) == "stem"
    assert last_frozen(resnet, frozenset({"layer2"})) == "layer1"
    assert last_frozen(resnet, frozenset({"stem"})) is None
    assert last_frozen(resnet, frozenset({"layer4"})) == "layer3"
    assert last_frozen(resnet, frozenset({"head"})) == "features"


@pytest.mark.parametrize(
    ("depth", "place"), [(0, FEATURES), (1, "layer3"), (2, "layer2"), (3, "layer1"), (4, "stem"), (5, None)]
)
def test_training_starts_after_the_last_frozen_place(resnet: Blocks, depth: int, place: str | None) -> None:
    assert last_frozen(resnet, ThawSchedule.from_depth(depth).trainable(0)) == place


# Found again by content


def add(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor[(0,) * tensor.ndim] += 1


def first(net: Blocks, block: str, kind: type[nn.Module]) -> nn.Module:
    return next(part for part in net.block(block).modules() if isinstance(part, kind))


def other_pixel(blocks: FrozenBlocks) -> FrozenBlocks:
    images = blocks.images.clone()
    images[3, 0, 0, 0] += 1
    return replace(blocks, images=images)


def other_weight(blocks: FrozenBlocks) -> FrozenBlocks:
    add(first(blocks.net, "layer1", nn.Conv2d).weight)  # type: ignore[arg-type]
    return blocks


def other_last_weight(blocks: FrozenBlocks) -> FrozenBlocks:
    add(list(blocks.net.block("layer2").parameters())[-1])
    return blocks


def other_statistics(blocks: FrozenBlocks) -> FrozenBlocks:
    add(first(blocks.net, "stem", nn.BatchNorm2d).running_mean)  # type: ignore[arg-type]
    return blocks


def other_mean(blocks: FrozenBlocks) -> FrozenBlocks:
    add(blocks.net.inputs.mean)
    return blocks


def other_size(blocks: FrozenBlocks) -> FrozenBlocks:
    blocks.net.inputs.size = 30  # the stem's outputs have the same shape
    return blocks


def other_format(blocks: FrozenBlocks) -> FrozenBlocks:
    return replace(blocks, net=blocks.net.to(memory_format=torch.contiguous_format))


@pytest.mark.parametrize(
    "change",
    [
        other_pixel,
        other_weight,
        other_last_weight,
        other_statistics,
        other_mean,
        other_size,
        other_format,
        lambda blocks: replace(blocks, precision="bf16-mixed"),
        lambda blocks: replace(blocks, versions=MIRRORED),
        lambda blocks: replace(blocks, images=blocks.images[:-1]),
    ],
    ids=[
        "pixel",
        "weight",
        "last weight",
        "statistics",
        "mean",
        "size",
        "format",
        "precision",
        "versions",
        "count",
    ],
)
def test_other_content_is_another_file(tmp_path: Path, change: Callable[[FrozenBlocks], FrozenBlocks]) -> None:
    """Features look alike whatever the arithmetic and the memory format behind them."""
    blocks, places = frozen(network()), ["layer2", FEATURES]
    activations(blocks, places, keep(tmp_path, "disk"))
    changed = change(blocks)
    for place, held in activations(changed, places, keep(tmp_path, "disk")).items():
        assert held.found is False, place
        own = direct(changed.net, changed.images, place, changed.precision)
        assert torch.equal(held.version(0), own.to(held.values.dtype)), place
    assert len(list(tmp_path.iterdir())) == 4


def test_other_views_and_other_rounding_are_other_files(tmp_path: Path, resnet: Blocks) -> None:
    for count, versions in enumerate([VIEWS, replace(VIEWS, seed=6), replace(VIEWS, flip=False)], 1):
        one(frozen(resnet, versions=versions), FEATURES, keep(tmp_path / "views", "disk"))
        assert len(list((tmp_path / "views").iterdir())) == count
    for dtype in ("float32", "bfloat16"):
        one(frozen(resnet), "layer2", keep(tmp_path / "dtype", "disk", dtype=dtype))
    assert len(list((tmp_path / "dtype").iterdir())) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_file_holds_does_not_depend_on_which_run_wrote_it(
    tmp_path: Path, resnet: Blocks, dtype: str
) -> None:
    """Rounded places leave their mark on all that are computed from them, through others too."""
    for places in (["layer1", "layer3", FEATURES], ["layer3", FEATURES], [FEATURES]):
        fresh = activations(frozen(resnet), places, keep(tmp_path / "-".join(places), "disk", dtype=dtype))
        shared = activations(frozen(resnet), places, keep(tmp_path / "shared", "disk", dtype=dtype))
        assert all(torch.equal(shared[place].values, fresh[place].values) for place in places)
    assert all(held.found for held in shared.values()) == (dtype == "float32")


def test_the_same_content_is_found_whatever_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    before = one(frozen(net), "layer2", keep(tmp_path, "disk"))
    for block in ("layer3", "layer4", "head"):
        for parameter in net.block(block).parameters():
            add(parameter)
    monkeypatch.setattr(FrozenBlocks, "fill", never)
    for blocks in (frozen(net), frozen(network())):
        again = one(blocks, "layer2", keep(tmp_path, "disk"))
        assert (before.found, again.found) == (False, True)
        assert torch.equal(again.values, before.values)
        assert again.record()["kept_in"] == "file"


# Files


def filling(value: float) -> Callable[[Tensor], None]:
    def fill(values: Tensor) -> None:
        values.fill_(value)

    return fill


def test_a_truncated_file_is_computed_again(tmp_path: Path, resnet: Blocks) -> None:
    expected = one(frozen(resnet), "layer2", keep(tmp_path, "disk")).values.clone()
    (path,) = tmp_path.iterdir()
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-7])
    again = one(frozen(resnet), "layer2", keep(tmp_path, "disk"))
    assert again.found is False
    assert torch.equal(again.values, expected)
    assert [file.stat().st_size for file in tmp_path.iterdir()] == [size]


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from tlcl.system.mapped_file import build_mapped

def fill(values):
    values[: len(values) // 2] = 1
    os.kill(os.getpid(), signal.SIGKILL)

build_mapped(Path(sys.argv[1]), int(sys.argv[2]), torch.float32, fill)
"""


def test_a_killed_build_leaves_nothing_that_is_read(tmp_path: Path, resnet: Blocks) -> None:
    expected = one(frozen(resnet), "layer2", keep(tmp_path, "disk")).values.clone()
    (path,) = tmp_path.iterdir()
    path.unlink()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(expected.numel())], cwd=ROOT, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (leftover,) = tmp_path.iterdir()
    assert leftover != path
    assert leftover.stat().st_size == expected.nbytes
    again = one(frozen(resnet), "layer2", keep(tmp_path, "disk"))
    assert again.found is False
    assert torch.equal(again.values, expected)
    assert list(tmp_path.iterdir()) == [path]


def test_a_build_does_not_disturb_another(tmp_path: Path) -> None:
    """Neither in its middle nor when it ends between the other's look into the folder and at the file."""

    def outer(values: Tensor) -> None:
        inner = build_mapped(tmp_path / "inner.bin", 3, torch.float32, filling(2))
        assert inner.tolist() == [2, 2, 2]
        assert len(list(tmp_path.glob(".outer.bin.*"))) == 1
        values.fill_(1)

    assert build_mapped(tmp_path / "outer.bin", 2, torch.float32, outer).tolist() == [1, 1]
    (tmp_path / f".{HASH}.gone.bin.1.partial").symlink_to(tmp_path / "renamed")
    (tmp_path / f"{HASH}.gone.bin").symlink_to(tmp_path / "deleted")
    build_mapped(tmp_path / "third.bin", 1, torch.float32, filling(3))
    for name, values in {"outer": [1, 1], "inner": [2, 2, 2], "third": [3]}.items():
        known = open_mapped(tmp_path / f"{name}.bin", len(values), torch.float32)
        assert known is not None
        assert known.tolist() == values


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(values: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_mapped(tmp_path / "x.bin", 4, torch.float32, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_belongs_to_others_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_mapped(tmp_path / "x.bin", 2, torch.float32, filling(4))

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "utime", refuse)
    known = open_mapped(tmp_path / "x.bin", 2, torch.float32)
    assert known is not None
    assert known.tolist() == [4, 4]


def test_files_are_deleted_when_nobody_has_opened_them_for_a_month(tmp_path: Path) -> None:
    """Those that have our names: the folder is the config's choice, and may hold other things."""
    for name in (f"{HASH}.unused", f"{HASH}.used", "foreign"):
        build_mapped(tmp_path / f"{name}.bin", 1, torch.float32, filling(0))
        month_ago = time.time() - UNUSED_DAYS * 86400 - 60
        os.utime(tmp_path / f"{name}.bin", (month_ago, month_ago))
        if name.endswith(".used"):
            assert open_mapped(tmp_path / f"{name}.bin", 1, torch.float32) is not None
    build_mapped(tmp_path / "new.bin", 1, torch.float32, filling(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{HASH}.used.bin", "foreign.bin", "new.bin"]


@pytest.fixture(params=["full disk", "no room", "no folder"])
def useless(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which no outputs can be kept."""
    folder = tmp_path / "useless"
    if request.param == "no folder":
        folder.write_text("a file where the folder should be")
        yield folder
        return
    folder.mkdir()
    if request.param == "no room":

        def refuse(*_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_where_no_file_can_be_written_memory_takes_its_place(
    useless: Path, resnet: Blocks, caplog: pytest.LogCaptureFixture
) -> None:
    assert activations(frozen(resnet), [FEATURES], keep(useless, "disk")) == {}
    assert caplog.text.count("cannot be kept in a file") == len(caplog.records) == 1
    held = one(frozen(resnet), FEATURES, keep(useless, "auto"))
    assert held.record()["kept_in"] == "memory"
    assert torch.equal(held.values, direct(resnet, IMAGES, FEATURES))
    assert activations(frozen(resnet), [FEATURES], keep(useless, "auto", budget=0)) == {}
    assert useless.is_file() or list(useless.iterdir()) == []


# Bounds


def test_memory_beyond_the_budget_is_not_taken(
    tmp_path: Path, resnet: Blocks, caplog: pytest.LogCaptureFixture
) -> None:
    config = parse_config(composed(tmp_path, "data.cache_prefix=ram", "data.crop_padding=0", "data.cache_gib=0"))
    assert activations(frozen(resnet), ["layer2"], Keeping.of(config)) == {}
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "data.cache_gib" in warning.getMessage()
    assert "layer2" in warning.getMessage()
    config = parse_config(composed(tmp_path, "data.cache_prefix=auto", "data.cache_gib=0"))
    held = one(frozen(resnet), "layer2", Keeping.of(config))
    assert held.record()["kept_in"] == "file"
    assert list((tmp_path / "cache" / "prefix").iterdir()) != []
    assert torch.equal(held.values, direct(resnet, IMAGES, "layer2"))


def test_the_budget_is_that_of_all_places_together(tmp_path: Path, resnet: Blocks) -> None:
    sizes = {place: direct(resnet, IMAGES, place).nbytes for place in ("layer2", "layer3", FEATURES)}
    budget = sum(sizes.values()) - 4
    held = activations(frozen(resnet), list(sizes), keep(tmp_path, budget=budget))
    assert list(held) == ["layer2", "layer3"]
    held = activations(frozen(resnet), list(sizes), keep(tmp_path, budget=sizes["layer2"] + sizes[FEATURES]))
    assert list(held) == ["layer2", FEATURES]
    assert torch.equal(held[FEATURES].values, direct(resnet, IMAGES, FEATURES))
    held = activations(frozen(resnet), list(sizes), keep(tmp_path, "auto", budget=sizes["layer2"]))
    assert [one.record()["kept_in"] for one in held.values()] == ["memory", "file", "file"]


def test_memory_is_a_quarter_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 4000)
    assert Keeping.of(parse_config(composed(tmp_path))).budget == 1000
    assert Keeping.of(parse_config(composed(tmp_path, "data.cache_gib=0.5"))).budget == 2**29


def test_bfloat16_rounds_to_half_the_bytes(tmp_path: Path, resnet: Blocks) -> None:
    held = activations(frozen(resnet), ["layer2", "layer3", FEATURES], keep(tmp_path, dtype="bfloat16"))
    exact = direct(resnet, IMAGES, "layer2")
    assert held["layer2"].values.dtype == torch.bfloat16
    assert 2 * held["layer2"].values.nbytes == exact.nbytes
    assert torch.equal(held["layer2"].values, exact.bfloat16())
    from_rounded = direct(resnet, exact.bfloat16().float(), "layer3", start="layer2")
    assert torch.equal(held["layer3"].values, from_rounded.bfloat16())
    with torch.inference_mode():
        logits = Tail(resnet, FEATURES, 2, channels_last=True)(held[FEATURES].values)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, direct(resnet, IMAGES, None), rtol=0.05, atol=0.05)
