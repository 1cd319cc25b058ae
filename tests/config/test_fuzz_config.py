"""Any value for any key, and anything typed as an override: a config that makes sense, or one sentence."""

import copy
import functools
import math
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.ranges import bound, limits
from tlcl.config.schema import Config, conf_dir
from tlcl.errors import UserError
from tlcl.sweeps import compare

KINDS = {
    "finetune": ["thaw=layerwise"],
    "continual": ["+experiment=continual_digits", "method=er"],
    "adapt": ["+experiment=adapt_digits"],
    "continual_compare": ["+experiment=continual_compare"],
    "adapt_compare": ["+experiment=adapt_compare"],
    "few_labels": ["+experiment=adapt_ccsa", "data.root=/splits"],
    "how_deep": ["+experiment=how_deep", "data.train=/images"],
}
SWAPPED = {  # the groups whose choices each kind can be given
    "finetune": ["data", "model", "thaw", "logger"],
    "continual": ["method", "model"],
    "adapt": ["adaptation", "source"],
    "continual_compare": ["model"],
    "adapt_compare": ["source"],
    "few_labels": [],
    "how_deep": [],
}
GIVEN = {
    "data.train": "/images", "data.root": "/splits", "data.domain": "photo",
    "source.train": "/images", "source.root": "/splits", "source.domain": "sketch",
}  # fmt: skip
WORDS = st.sampled_from([
    "", "x", "é\u202e", "a\nb", "a\0b", "../../etc/passwd", "/dev/null", "~nobody/x", "~", "null", "nan", "1e400",
    "1", "-1", "1.5", "true", "[1]", "{a: 1}", "???", "a" * 3000, "\udcff", "$x$", "<b>", "er", "digits", "cpu",
])  # fmt: skip
NUMBERS = st.sampled_from([
    0, 1, -1, 2, 3, 2**31, 2**63, 2**64, 10**12, 10**30, -(10**30), 10**400, 0.0, -0.0, 0.5, -0.5, 1.0, 5e-324,
    1e-300, 1e30, 1e300, math.nan, math.inf, -math.inf,
])  # fmt: skip
PLAIN = st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | WORDS | st.text(max_size=5)
NAMES = st.sampled_from(["a", "", "name", "é", "0", "depth", "head"]) | st.integers(-1, 3) | st.booleans()
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=4
)


def files(group: str) -> list[str]:
    found = {path.stem for path in (conf_dir() / group).glob("*.yaml")}
    return sorted(found - {"few_label_splits", "milestones"})  # a kind of its own; one that takes more keys


@functools.cache
def kind(name: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose("config", KINDS[name])
    OmegaConf.set_struct(config, False)
    return config


def config_of(name: str, group: str, choice: str) -> DictConfig:
    """The composed config of a kind of job with one group taken from another file of conf/."""
    config = copy.deepcopy(kind(name))
    if choice:
        config[group] = OmegaConf.load(conf_dir() / ("data" if group == "source" else group) / f"{choice}.yaml")
        config[group].pop("defaults", None)
    for key, value in GIVEN.items():
        above, _, last = key.partition(".")
        if config.get(above) is not None and OmegaConf.is_missing(config[above], last):
            config[above][last] = value
    return config


def places(config: DictConfig, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key, groups included."""
    for key in config:
        yield (*above, key)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from places(node, (*above, key))


def written(tmp: Path) -> list[str]:
    return [str(path) for path in tmp.rglob("*")]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reading a config leaves the current folder and the cache as they are."""
    here = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("TLCL_CACHE", str(here / "cache"))
        yield
    assert written(here) == []


def numbers(config: Any, above: str = "") -> Iterator[tuple[str, float, float]]:
    """(key, number, what it must not reach) of every number; a group in their place is the data's to refuse."""
    for item in fields(config):
        value, key = getattr(config, item.name), f"{above}{item.name}"
        if is_dataclass(value):
            yield from numbers(value, f"{key}.")
        for one in value if isinstance(value, list) else [] if isinstance(value, dict) else [value]:
            if isinstance(one, int | float) and not isinstance(one, bool) and not key.startswith("thaw"):
                yield key, one, bound(one, limits(type(config))[item.name])


def checked(config: DictConfig) -> Config | str:
    """The config that it is parsed to, or the sentence that refuses it; any other error passes."""
    try:
        parsed = parse_config(config)
        if parsed.compare is not None:
            compare.children(parsed, Path("run"))
    except UserError as error:
        sentence = str(error)
    else:
        for key, number, most in numbers(parsed):
            assert math.isfinite(number), key
            assert number < most, key
        return parsed
    assert sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    assert len(sentence) < 700
    return sentence


ONE = {
    "finetune": 40, "continual": 24, "adapt": 20, "continual_compare": 6, "adapt_compare": 6, "few_labels": 6,
    "how_deep": 20,
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_any_value_of_any_key(name: str) -> None:
    @settings(max_examples=ONE[name] * settings().max_examples // 60)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(["", *SWAPPED[name]]))
        config = config_of(
            name, group, data.draw(st.sampled_from(files("data" if group == "source" else group))) if group else ""
        )
        path = data.draw(st.sampled_from(sorted(places(config), key=str)))
        value = data.draw(VALUES)
        node = functools.reduce(lambda inner, key: inner[key], path[:-1], config)
        try:
            node[path[-1]] = value
        except (OmegaConfBaseException, ValueError, RecursionError):
            return  # nothing that a config can hold
        found = checked(config)
        if isinstance(found, str):
            about = {".".join(map(str, path)), *map(str, path[:-1] or path), *map(str, path[-1:])}
            related = {"continual": "method", "method": "continual", "source": "adaptation", "compare": "method"}
            about |= {related.get(str(path[0]), "config"), "tasks"}
            assert any(key in found for key in about), (path, value, found)

    run()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.train", "~nobody_of_this_name/x"), ("model.weights", "~nobody_of_this_name"), ("run_dir", "~no_x/y"),
        ("name", "a\0b"), ("logger.project", "\0"), ("seed", 2**63), ("seed", 10**400), ("trainer.epochs", 10**12),
        ("optim.lr", 10**400), ("data.cache_gib", 1e300), ("data.size", 10**6), ("data.crop_padding", 10**9),
        ("data.batch_size", 2**31), ("optim.warmup_epochs", 2**70), ("data.source", ["digits"]), ("model.name", {}),
        ("logger.name", None), ("name", "${name}"), ("name", "${seed"), ("thaw.15", "a" * 5000),
    ],
)  # fmt: skip
def test_what_was_found(key: str, value: Any) -> None:
    """Each ended in a traceback, or was let through to fail in training, or was quoted without an end."""
    config = config_of("finetune", "data", "image_folder")
    above, _, last = key.rpartition(".")
    try:
        (config[above] if above else config)[last] = value
    except OmegaConfBaseException:
        return
    found = checked(config)
    assert isinstance(found, str)
    assert key.partition(".")[0] in found


@settings(max_examples=max(10, settings().max_examples // 3))
@given(
    st.sampled_from(["continual_compare", "adapt_compare"]),
    st.lists(st.text(max_size=12) | WORDS, max_size=3),
    VALUES,
)
@example("continual_compare", [""], [0])
@example("continual_compare", [" \t"], [0])
@example("continual_compare", ["er a[=1"], [0])
@example("continual_compare", ["er buffer_size={"], [0])
@example("continual_compare", ["er buffer_size=${seed}"], [0])
@example("adapt_compare", ["dann block=../../../x"], [0])
@example("continual_compare", ["er"], [-1])
@example("continual_compare", ["er"], [2**64])
@example("continual_compare", ["er .=1"], [0])
@example("continual_compare", ["er [0]=1"], [0])
@example("continual_compare", ["a" * 3000] * 2, [0])
def test_any_comparison(name: str, methods: list[str], seeds: Any) -> None:
    config = copy.deepcopy(kind(name))
    config.compare.methods = methods
    try:
        config.compare.seeds = seeds
    except (OmegaConfBaseException, ValueError, RecursionError):
        return
    checked(config)


TYPED = st.sampled_from([
    "optim.lr", "optim.lrr", "+optim.lr", "++optim.lr", "~optim.lr", "~optim", "~data", "data", "+data", "method",
    "+experiment", "experiment", "data@source", "data@", "@", "", "seed", "+zz", "hydra.run.dir", "hydra/launcher",
    "~hydra", "hydra", "thaw.0", "+thaw.3", "name", "a.b.c", "+a.b.c", "model", "logger.tags", "extend", "defaults",
])  # fmt: skip
GIVEN_AS = st.sampled_from([
    "", "null", "1", "0.1", "[", "]", "{", "[1,2]", "{a:1}", "{a:1", "'", '"', "'a'", "${", "${a}", "${name}",
    "${oc.env:NOWHERE}", "a,b", "a=b", "digits", "er", "finetune_layerwise", "9" * 5000, "1e999", "\\", "\0", "é",
    "\n", "a b", "range(1,3)", "interval(0,1)", "choice(1,2)", "glob(*)", "cast(", "int(x)", "sort(3,1)", "???",
])  # fmt: skip
ARGUMENTS = st.builds(
    lambda key, equals, value: f"{key}{equals}{value}", TYPED, st.sampled_from(["=", "=", "=", ""]), GIVEN_AS
)


@settings(max_examples=max(10, settings().max_examples // 3))
@given(st.lists(ARGUMENTS | st.text(max_size=8), min_size=1, max_size=2))
@example(["seed=" + "9" * 5000])
@example(["data=null"])
@example(["name=${name}"])
@example(["thaw.depth=" + "9" * 5000])
@example(["data@="])
@example([""])
@example(["=1"])
@example(["~hydra"])
@example(["~data=1"])
@example(["data=1"])
@example(["data=[1,2]"])
@example(["hydra/launcher=[1]"])
@example(["hydra=null"])
@example(["+defaults=[x]"])
def test_anything_typed_as_an_override(arguments: list[str]) -> None:
    if any(argument.startswith("extend=") for argument in arguments):
        return  # runs a file that its user names
    try:
        config = composed_config(arguments)
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence
        return
    assert isinstance(config, DictConfig | ListConfig)
    checked(config)
    assert os.listdir() == []
