"""Composed configs: what ships parses, and each mistake is one sentence that names the key."""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Lt
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.conftest import ROOT, refusal
from tlcl.config.compose import check_quotes, check_useless, composed_config
from tlcl.config.parse import parse_config
from tlcl.config.ranges import bound, check_value, limits
from tlcl.config.schema import Config, WandbConfig, conf_dir
from tlcl.config.unread import unread
from tlcl.errors import UserError
from tlcl.models.efficientnet_lite0 import EfficientNetLite0Config

FOLDER = ["data=image_folder", "data.train=/images"]
LAYERWISE = ["thaw=layerwise"]
SLDA = ["continual=class_incremental", "method=slda", "trainer.select=last"]
OWN = ["thaw=milestones", "+thaw.0=[head]"]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        return compose("config", list(overrides))


def parsed(*overrides: str) -> Config:
    return parse_config(composed(*overrides))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["+optim.lrr=1"], ["optim.lrr", "did you mean 'optim.lr'"]),
        (["+trainer.epoch=1"], ["trainer.epoch'", "did you mean 'trainer.epochs'"]),
        (["+sead=1"], ["sead", "did you mean 'seed'"]),
        (["+data.images_per_class=9"], ["data.images_per_class", "choose another data"]),
        (["+zzz=1"], ["zzz"]),
        (["~optim.lr"], ["optim.lr"]),
        (["~seed"], ["seed"]),
        (["data=image_folder"], ["data.train"]),
        (["optim.lr=???"], ["optim.lr"]),
        (["name=${nowhere}"], ["nowhere"]),
        (["optim.lr=fast"], ["optim.lr", "fast", "float"]),
        (["optim.lr=null"], ["optim.lr"]),
        (["optim=5"], ["optim"]),
        (["data.batch_size=1.5"], ["data.batch_size", "int"]),
        (["data.train_size=many"], ["data.train_size", "int | null"]),
        (["data.flip=3"], ["data.flip", "bool"]),
        (["seed=true"], ["seed"]),
        (["name=5"], ["name", "str"]),
        (["logger.tags=a"], ["logger.tags", "list[str]"]),
        (["logger.tags=[[a]]"], ["logger.tags", "list[str]"]),
        (["+optim.block_lr.layer4=[1]"], ["optim.block_lr", "dict[str, float]"]),
        ([*SLDA, "method.shrinkage=1"], ["method.shrinkage", "less than 1"]),
        (["+optim.block_lr.layer4=fast"], ["optim.block_lr", "dict[str, float]"]),
        (["seed=-1"], ["seed=-1", "at least 0"]),
        (["optim.lr=0"], ["optim.lr", "greater than 0"]),
        (["optim.lr=nan"], ["optim.lr", "finite"]),
        (["optim.lr=inf"], ["optim.lr", "finite"]),
        (["optim.momentum=1"], ["optim.momentum", "less than 1"]),
        (["data.batch_size=1"], ["data.batch_size", "at least 2"]),
        ([*FOLDER, "data.test_fraction=1"], ["data.test_fraction", "less than 1"]),
        ([*FOLDER, "data.test_fraction=0"], ["data.test_fraction", "greater than 0"]),
        (["trainer.epochs=0"], ["trainer.epochs", "at least 1"]),
        (["optim.warmup_epochs=36"], ["optim.warmup_epochs=36", "trainer.epochs=35"]),
        ([*FOLDER, "data.channels=2"], ["data.channels", "1, 3"]),
        ([*FOLDER, "data.on_bad_image=hide"], ["data.on_bad_image", "error, skip"]),
        (["optim.name=adagrad"], ["optim.name", "sgd, adamw"]),
        (["model.name=vgg"], ["model.name", "resnet18"]),
        (["data.source=mnist"], ["data.source", "digits"]),
        (["+optim.block_lr.layer9=1"], ["optim.block_lr", "layer9", "layer4"]),
        (["+optim.block_lr.layer4=-1"], ["optim.block_lr.layer4"]),
        (["+optim.block_lr.layer4=nan"], ["optim.block_lr.layer4"]),
        (["thaw.depth=6"], ["thaw.depth=6", "5"]),
        (["thaw.depth=-1"], ["thaw.depth=-1"]),
        (["thaw.depth=true"], ["thaw.depth=True"]),
        (["thaw.depth=1.5"], ["thaw.depth=1.5"]),
        (["+thaw.dept=3"], ["thaw.dept "]),
        (["thaw=milestones"], ["thaw.0"]),
        ([*OWN, "+thaw.5=[layer3]"], ["thaw.5", "layer3", "layer4"]),
        (["thaw=milestones", "+thaw.0=[stem]"], ["thaw.0", "stem", "head"]),
        ([*OWN, "+thaw.5=[layer4,layer4]"], ["thaw.5", "layer4"]),
        ([*LAYERWISE, "thaw.15=[head]"], ["thaw.15", "head", "second time"]),
        ([*LAYERWISE, "thaw.15=[layer9]"], ["thaw.15", "layer9"]),
        ([*LAYERWISE, "thaw.15=layer9"], ["thaw.15", "layer9"]),
        ([*LAYERWISE, "thaw.15=2"], ["thaw.25=2", "thaws nothing"]),
        ([*LAYERWISE, "thaw.15=6"], ["thaw.15=6", "0 (head only) to 5", "all"]),
        ([*LAYERWISE, "thaw.15=true"], ["thaw.15=True", "depth"]),
        ([*LAYERWISE, "thaw.15=1.5"], ["thaw.15=1.5", "depth"]),
        ([*LAYERWISE, "~thaw.15", "thaw.25=[layer3]"], ["thaw.25", "layer4"]),
        (["thaw.depth=layer9"], ["thaw.depth='layer9'", "layer4"]),
        (["thaw.depth=1", "thaw.blocks=[layer1,head]"], ["thaw.depth", "thaw.blocks"]),
        ([*OWN, "thaw.depth=null", "thaw.blocks=[layer9]"], ["thaw.blocks", "layer9"]),
        ([*OWN, "thaw.depth=null", "thaw.blocks=[]"], ["thaw.blocks=[]"]),
        ([*OWN, "thaw.depth=null", "thaw.blocks=layer1"], ["thaw.blocks='layer1'", "list"]),
        ([*OWN, "thaw.depth=null", "thaw.blocks=[head,head]"], ["thaw.blocks", "second time"]),
        ([*OWN, "thaw.depth=null", "thaw.blocks=[layer1]"], ["thaw.blocks", "head", "optim.head=fitted"]),
        (["thaw.only=norm"], ["thaw.only='norm'", "norms_and_biases"]),
        (
            [*LAYERWISE, "thaw.of=null", "trainer.epochs=25"],
            ["thaw.25", "trainer.epochs=25", "~thaw.25", "thaw.of=26"],
        ),
        ([*LAYERWISE, "thaw.of=20"], ["thaw.25", "20 epochs"]),
        ([*LAYERWISE, "thaw.of=x"], ["thaw.of='x'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_naming_the_key(overrides: list[str], named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parsed(*overrides)
    sentence = str(caught.value)
    assert all(part in sentence for part in named), sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


@pytest.mark.parametrize(
    ("thaw", "named"),
    [
        ({"depth": None, 0: ["head"], -1: ["layer4"]}, "thaw.-1"),
        ({"depth": None, 0: ["head"], "05": ["layer4"]}, "thaw.05"),
        ({"depth": None, 0: ["head"], 1.5: ["layer4"]}, "thaw.1.5"),
        ({"depth": None, 0: ["head"], 5: ["layer4"], "5": ["layer3"]}, "twice"),
        ({"depth": None, 0: [1]}, "thaw.0"),
        ([["head"]], "thaw"),
    ],
)
def test_thaw_keys_that_the_command_line_cannot_spell(thaw: object, named: str) -> None:
    config = composed()
    config.thaw = OmegaConf.create(thaw)
    with pytest.raises(UserError) as caught:
        parse_config(config)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


# What only the user can say.
GIVEN = {
    "image_folder": ["data.train=/images"],
    "domains": ["data.root=/images", "data.domain=photo"],
    "domain_stream": ["data.root=/images", "continual=domain_incremental", "method=naive", "trainer.select=last"],
    "torchvision": ["data.name=Flowers102"],
    "few_label_splits": ["data.root=/splits", "compare=adaptation"],
    "adapt_ccsa": ["data.root=/splits"],
    "adapt_pacs": ["data.root=/domains"],
    "continual_pacs": ["data.root=/domains"],
    "own_images": ["data.train=/photos"],
    "how_deep": ["data.train=/photos"],
}


@pytest.mark.parametrize("data", choices("data"))
@pytest.mark.parametrize("model", choices("model"))
def test_every_shipped_combination_parses(data: str, model: str) -> None:
    extra = [*GIVEN.get(data, []), *(["model.arch=test_vit"] if model == "timm" else [])]
    for thaw in choices("thaw"):
        if thaw == "by_events" and data in ("few_label_splits", "domain_stream"):
            continue  # events are for fine-tuning alone
        head = ["+thaw.0=[head]"] if thaw == "milestones" else []
        for logger in choices("logger"):
            config = parsed(f"data={data}", f"model={model}", f"thaw={thaw}", f"logger={logger}", *extra, *head)
            assert (config.data.source, config.logger.name) == (data, logger)
            assert config.model.name == OmegaConf.load(conf_dir() / "model" / f"{model}.yaml").name
            assert "head" in config.schedule.trainable(0)


@pytest.mark.parametrize("experiment", choices("experiment"))
@pytest.mark.parametrize("model", choices("model"))
def test_every_experiment_takes_every_model(experiment: str, model: str) -> None:
    """An experiment sets nothing that only one backbone has."""
    arch = ["model.arch=test_vit"] if model == "timm" else []
    parsed(f"+experiment={experiment}", f"model={model}", "model.weights=none", *GIVEN.get(experiment, []), *arch)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_parses(experiment: str) -> None:
    assert parsed(f"+experiment={experiment}", *GIVEN.get(experiment, [])).name == experiment


@pytest.mark.parametrize("mistake", ["optim.lr=0", "trainer.epochs=many", "logger.mode=loud"])
def test_a_mistake_outside_the_choices_does_not_wait_for_torch(mistake: str) -> None:
    code = f"""
import sys
from tlcl.config.compose import check_quotes, check_useless, composed_config
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
try:
    parse_config(composed_config([{mistake!r}]))
except UserError as error:
    print(error, sorted({{"torch", "lightning", "sklearn", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith(mistake.partition("=")[0] + "=")
    assert done.stdout.endswith(" []\n")


@pytest.mark.parametrize("name", ["", "er.", "../er", "base", "fisher", "os", "ER"])
def test_only_what_is_registered_is_a_choice(name: str) -> None:
    config = composed(*SLDA)
    config.method.name = name
    with pytest.raises(UserError, match=r"^method\.name=.* is not one of agem, cumulative, .*, slda$"):
        parse_config(config)


def test_a_range_is_inherited_with_another_default() -> None:
    @dataclass
    class Above:
        share: Annotated[float, Gt(0), Lt(1)] = 0.5
        kinds: list[Annotated[int, Ge(1)]] | None = None

    @dataclass
    class Below(Above):
        share: float = 0.1
        free: int = 3

    assert limits(Below) == {"share": [Gt(0), Lt(1)], "kinds": [Ge(1)], "free": []}
    assert bound(1.0, limits(Below)["share"]) == 1
    with pytest.raises(UserError, match=r"^a\.kinds=0 must be at least 1$"):
        check_value("a.kinds", [2, 0], limits(Below)["kinds"])
    with pytest.raises(UserError, match=r"^a\.free=2147483648 must be less than 2,147,483,648$"):
        check_value("a.free", 2**31, limits(Below)["free"])


def test_variants_are_typed() -> None:
    config = parsed("model=efficientnet_lite0", "optim.lr=1", "logger.tags=[a,b]")
    assert isinstance(config.model, EfficientNetLite0Config)
    assert isinstance(config.logger, WandbConfig)
    assert config.logger.tags == ["a", "b"]
    assert type(config.optim.lr) is float


def test_paths_lose_their_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TLCL_CACHE", raising=False)
    config = parsed("run_dir='~/here'")
    assert (config.run_dir, config.cache_dir) == (f"{tmp_path}/here", f"{tmp_path}/.cache/tlcl")
    monkeypatch.setenv("TLCL_CACHE", "/elsewhere")
    assert parsed().cache_dir == "/elsewhere"


@pytest.mark.parametrize(
    ("overrides", "milestones"),
    [
        (LAYERWISE, {0: ["head"], 15: ["layer4"], 25: ["layer3"]}),
        ([*LAYERWISE, "thaw.25=null"], {0: ["head"], 15: ["layer4"]}),
        ([*LAYERWISE, "thaw.15=layer4", "thaw.25=[layer3]"], {0: ["head"], 15: ["layer4"], 25: ["layer3"]}),
        ([*LAYERWISE, "~thaw.15", "thaw.25=layer2"], {0: ["head"], 25: ["layer2", "layer3", "layer4"]}),
        ([*LAYERWISE, "thaw.0=head", "thaw.15=layer3", "thaw.25=null"], {0: ["head"], 15: ["layer3", "layer4"]}),
        ([*LAYERWISE, "~thaw.15"], {0: ["head"], 25: ["layer3", "layer4"]}),
        ([*LAYERWISE, "thaw.depth=layer3"], {0: ["layer3", "layer4", "head"]}),
        (["thaw=head_only", "thaw.depth=head"], {0: ["head"]}),
        (["thaw=milestones", "thaw.blocks=[layer1,head]"], {0: ["layer1", "head"]}),
        (["thaw=milestones", "thaw.blocks=[layer2]", "optim.head=fitted"], {0: ["layer2"]}),
        ([*LAYERWISE, "~thaw.25"], {0: ["head"], 15: ["layer4"]}),
        ([*LAYERWISE, "~thaw.15", "thaw.25=[layer4]"], {0: ["head"], 25: ["layer4"]}),
        ([*LAYERWISE, "thaw.15=null", "thaw.25=[layer4]"], {0: ["head"], 25: ["layer4"]}),
        ([*OWN, "+thaw.5=[layer4,layer3]"], {0: ["head"], 5: ["layer4", "layer3"]}),
        ([*LAYERWISE, "trainer.epochs=5"], {0: ["head"], 2: ["layer4"], 4: ["layer3"]}),
        ([*LAYERWISE, "thaw.depth=2"], {0: ["layer3", "layer4", "head"]}),
        ([*LAYERWISE, "thaw.depth=2", "trainer.epochs=3"], {0: ["layer3", "layer4", "head"]}),
        (["thaw=head_only"], {0: ["head"]}),
        (["thaw=all"], {0: ["stem", "layer1", "layer2", "layer3", "layer4", "head"]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_thaw_group(overrides: list[str], milestones: dict[int, list[str]]) -> None:
    schedule = parsed(*overrides).schedule
    assert {epoch: list(blocks) for epoch, blocks in schedule.milestones.items()} == milestones


def test_epochs_may_be_numbers_in_yaml() -> None:
    config = composed()
    config.thaw = OmegaConf.create("{depth: null, 0: [head], 3: [layer4]}")
    assert parse_config(config).schedule.milestones == {0: ["head"], 3: ["layer4"]}


@pytest.mark.parametrize(
    "name", ["Übung", "my (old) images", "a,b", "run=3", "o'brien", 'a"b', "x[1]", "{a}", "猫", "[x"]
)
def test_a_path_that_needs_quotes_is_told_which(tmp_path: Path, name: str) -> None:
    """The argument in the sentence, as a shell reads it, gives the very path."""
    sentence = refusal(lambda: check_quotes([f"data.train={tmp_path / name}"]))
    assert sentence is not None
    assert "data.train=" in sentence
    (asked,) = shlex.split(sentence[sentence.rindex(": ") + 2 :])
    check_quotes([asked])
    composed = composed_config(["data=image_folder", asked])
    assert composed.data.train == str(tmp_path / name)


@pytest.mark.parametrize(
    "argument",
    ["data.train=/a/b-c.d/E_1", "~method", "+resume='a b'", "thaw.0=[head,layer4]", "optim.block_lr={layer4: 0.1}",
     "data@source=image_folder", "--help", "-m", "data.train='a,b'", "name=x y", "lr=1e-3", "hydra/sweeper=optuna"],
)  # fmt: skip
def test_what_needs_no_quotes_passes(argument: str) -> None:
    check_quotes([argument])


def test_a_folder_alone_is_told_how_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to a flag is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job").mkdir()
    for arguments in (["/a/photos"], ["seed=1", "job"], ["-m", "job"]):
        with pytest.raises(UserError, match=r"is no KEY=VALUE; a folder of images is given as .* 'data\.train="):
            check_quotes(arguments)
    check_quotes(["--cfg", "job", "--config-dir", "/a/presets"])
    check_quotes(["nonsense"])  # of which Hydra says more


def test_several_values_pass_in_a_sweep_alone() -> None:
    check_quotes(["-m", "seed=0,1"])
    check_quotes(["--multirun", "thaw.depth=range(0,3)"])
    with pytest.raises(UserError, match=r"'seed=0,1' has several values, which -m runs one by one"):
        check_quotes(["seed=0,1"])


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("depth.settings=1,2", "a list is given as 'depth.settings=[1,2]'"),
        ("compare.methods=er,lwf", "a list is given as 'compare.methods=[er,lwf]'"),
        ("trainer.epochs=1,2", "without it give one of them"),
        ("seed=0,1", "without it give one of them"),
        ("thaw.depth=1,all", "without it give one of them"),
        ("trainer.monitor=loss,accuracy", "without it give one of them"),
        ("data=digits,letters", "without it give one of them"),
        ("thaw.0=layer3,layer4", "a list is given as 'thaw.0=[layer3,layer4]'"),
        ("data.train=a,b", "one text is quoted: 'data.train=\"a,b\"'"),
    ],
)
def test_several_values_are_told_how_they_are_one(argument: str, remedy: str) -> None:
    assert str(refusal(lambda: check_quotes([argument]))).endswith(remedy)


def test_a_group_that_is_chosen_twice() -> None:
    sentence = refusal(lambda: composed_config(["+experiment=continual_digits", "+method=er"]))
    assert str(sentence) == "method is chosen already; give method=er once, without the +"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["thaw.depth=1", "+thaw.2=[layer4]"], "thaw.depth='1' and thaw.2='[layer4]': a depth takes"),
        (["data.test=/t", "data.test_fraction=0.3"], "the test images are those of data.test"),
        (["thaw.depth=null", "+thaw.2=[layer4]"], None),
        (["data.test=null", "data.test_fraction=0.3"], None),
        (["+experiment=continual_compare", "seed=3"], "a comparison's seeds are set by compare.seeds"),
        (["compare=default", "seed=3"], "a comparison's seeds are set by compare.seeds"),
        (["+experiment=continual_compare", "compare.seeds=[3]"], None),
        (["thaw.depth=1", "~thaw.15"], None),
    ],
)
def test_a_key_beside_one_that_makes_it_useless(arguments: list[str], said: str | None) -> None:
    sentence = refusal(lambda: check_useless(arguments))
    assert sentence is None if said is None else said in str(sentence)


def test_own_photos_thaw_what_the_user_says() -> None:
    own = ["+experiment=own_images", "data.train=/images"]
    schedules = {
        "": {0: ["layer4", "head"]},
        "thaw=all": {0: ["stem", "layer1", "layer2", "layer3", "layer4", "head"]},
        "thaw.depth=2": {0: ["layer3", "layer4", "head"]},
        "thaw=head_only": {0: ["head"]},
    }
    for argument, milestones in schedules.items():
        schedule = parse_config(composed_config([*own, *filter(None, [argument])])).schedule
        assert {epoch: list(blocks) for epoch, blocks in schedule.milestones.items()} == milestones, argument
    two = ["thaw=milestones", "+thaw.0=[head]", "+thaw.3=[layer4]"]
    assert set(parse_config(composed_config([*own, *two])).schedule.milestones) == {0, 3}
    with pytest.raises(UserError, match=r"thaw\.3 is a milestone, and thaw\.depth=1 takes the milestones' place"):
        composed_config([*own, "+thaw.3=[layer4]"])


@pytest.mark.parametrize("experiment", ["continual_digits", "adapt_digits", "continual_compare"])
def test_what_chooses_an_epoch_is_for_fine_tuning_alone(experiment: str) -> None:
    """A key that nothing reads is an error; runs from before there was the key are read all the same."""
    sentence = refusal(lambda: composed_config([f"+experiment={experiment}", "trainer.monitor=accuracy"]))
    assert str(sentence) == "trainer.monitor=accuracy is for fine-tuning alone; leave it out"
    before = composed_config([f"+experiment={experiment}"])
    del before.trainer.monitor
    assert parse_config(before).trainer.monitor == "accuracy"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["+experiment=how_deep", "data.train=x", "trainer.select=best"], "trainer.select=best says how one run"),
        (["+experiment=how_deep", "data.train=x", "trainer.patience=3"], "trainer.patience=3 says how one run"),
        (["+experiment=how_deep", "data.train=x", "keep=model"], "keep=model says what is kept of a run"),
        (["+experiment=how_deep", "data.train=x", "logger=wandb"], "logger=wandb is of runs"),
        (["optim.name=adamw", "optim.momentum=0.5"], "optim.momentum=0.5 is of optim.name=sgd"),
        (["model.lora_alpha=8"], "model.lora_alpha=8 scales the matrices of model.lora, of which there are none"),
        (["+experiment=adapt_digits", "adaptation=dsn", "adaptation.similarity=mmd", "adaptation.hidden=9"],
         "adaptation.hidden=9 is the width of the discriminator"),
        (["data.crop_padding=0", "data.cached_views=4"], "data.cached_views=4 is how many of the views"),
        (["+experiment=adapt_ccsa", "data.root=x", "adaptation=ccsa", "~compare", "adaptation.target_labels=3"],
         "adaptation.target_labels=3 is what each of the splits decides"),
        (["+experiment=continual_digits", "method=ncm", "optim.lr=0.1"], "optim.lr=0.1 is of methods that train"),
        (["+experiment=continual_digits", "method=slda", "trainer.epochs=9"], "trainer.epochs=9 is of methods"),
        (["+experiment=continual_digits", "method=layers", "thaw=all"], "thaw=all is of methods that train"),
        (["+experiment=continual_digits", "method=ranpac", "+optim.block_lr.layer4=0.1"],
         "optim.block_lr.layer4=0.1 is of methods that train"),
        (["+experiment=continual_digits", "method=ncm", "optim={lr:0.1}"],
         "optim.lr=0.1 is of methods that train"),
        (["+experiment=own_images", "data.train=x", "thaw=head_only", "optim= {head:fitted,lr:0.1}"],
         "optim.lr=0.1 is of a training"),
        (["+experiment=continual_digits", "method=ncm", "data.crop_padding=3"],
         "data.crop_padding=3 is of methods"),
        (["+experiment=own_images", "data.train=x", "thaw=head_only", "trainer.epochs=9"],
         "trainer.epochs=9 is of a training"),
        (["+experiment=own_images", "data.train=x", "thaw.depth=head", "optim.lr=3"],
         "optim.lr=3 is of a training"),
        (["+experiment=own_images", "data.train=x", "thaw=milestones", "+thaw.0=0", "optim.lr=3"],
         "optim.lr=3 is of a training"),
        (["+experiment=own_images", "data.train=x", "thaw.depth=null", "thaw.blocks=[head]", "optim.lr=3"],
         "optim.lr=3 is of a training"),
        (["+experiment=own_images", "data.train=x", "thaw=head_only", "trainer.wise_ft=0.5"],
         "trainer.wise_ft=0.5 is of a training"),
    ],
)  # fmt: skip
def test_a_key_that_nothing_reads_is_refused(given: list[str], sentence: str) -> None:
    said = str(refusal(lambda: composed_config(given)))
    assert said.startswith(sentence)
    assert said.endswith("leave it out")


@pytest.mark.parametrize(
    "given",
    [
        ["+experiment=continual_digits", "method=er", "optim.lr=0.1", "thaw=all", "trainer.epochs=9"],
        ["+experiment=continual_compare", "compare.methods=[ncm,er]", "optim.lr=0.1"],
        ["continual=class_incremental", "method=ncm", "trainer.select=last"],
        ["+experiment=own_images", "data.train=x", "continual=class_incremental", "method=layers", "optim.head=new",
         "trainer.patience=null", "trainer.select=last", "optim.class_weights=none"],
        ["+experiment=continual_digits", "method=ncm", "data.crop_padding=0", "data.flip=false"],
        ["+experiment=own_images", "data.train=x", "thaw=head_only", "optim.head=new", "trainer.epochs=9"],
        ["+experiment=own_images", "data.train=x", "thaw.depth=1", "trainer.epochs=9"],
        ["data=digits", "thaw=by_events", "optim.head=lp_ft", "trainer.epochs=2"],
        ["data=digits", "thaw=head_only", "optim.head=fitted", "trainer={patience:null}"],
        ["optim.name=sgd", "optim.momentum=0.5"], ["+experiment=how_deep", "data.train=x", "trainer.log_every=1"],
        ["+experiment=adapt_compare", "optim.momentum=0.8", "compare.methods=[source_only,'dann optim.name=sgd']"],
        ["+experiment=adapt_digits", "adaptation=dsn", "adaptation.hidden=9"],
        ["data.crop_padding=2", "data.cached_views=4"], ["data.cached_views=null"],
        ["+experiment=how_deep", "data.train=x", "logger=none"],
    ],
)  # fmt: skip
def test_a_key_that_is_read_is_not(given: list[str]) -> None:
    composed_config(given)


def test_what_a_searched_milestone_lets_train_is_read() -> None:
    given = ["data=digits", "thaw=milestones", "+thaw.0=0", "optim.head=lp_ft"]
    arguments, composed = [*given, "trainer.epochs=8"], composed_config(given)
    assert list(unread(arguments, composed)) == ["trainer.epochs=8"]
    assert unread(arguments, composed, ["thaw.5"]) == {}


@pytest.mark.parametrize(
    "given",
    [["optim.lr=1e39"], ["optim.lr=1e30", "optim.block_lr_decay=900"], ["optim.weight_decay=1e300"],
     ["+optim.block_lr.layer1=1e300"]],
)  # fmt: skip
def test_what_32_bits_do_not_hold_is_refused(given: list[str]) -> None:
    sentence = refusal(lambda: parse_config(composed_config(["data=digits", "thaw=all", *given])))
    assert given[-1].lstrip("+").partition("=")[0] in str(sentence)
