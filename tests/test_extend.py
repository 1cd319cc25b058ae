"""A user's own file: what it adds works as what ships does, and no config brings code that no one has named."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torchvision.models import resnet34

from tests.conftest import FAST, ROOT, composed, go
from tlcl import extensions
from tlcl.config.kinds import NAMED
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS, Choice
from tlcl.continual.methods import registry as methods
from tlcl.errors import UserError
from tlcl.jobs.finished import classify, load_run
from tlcl.jobs.pretrain import letters_recipe
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.sweeps.compare import method_group

EXAMPLES = ROOT / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
pytestmark = pytest.mark.usefixtures("own_account")
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Scikit-learn's digits as a user might have them: 160 to train on, 60 to test."""
    bunch, path = load_digits(), tmp_path / "digits.npz"
    grey = (bunch.images * 255 / 16).astype(np.uint8)
    np.savez(
        path, train_x=grey[:160], train_y=bunch.target[:160], test_x=grey[160:220], test_y=bunch.target[160:220],
        classes=np.array(list("0123456789")),
    )  # fmt: skip
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_page_shows_the_files_that_are_tested() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    assert sorted(blocks) == sorted(file.read_text() for file in FILES)
    assert all(len(text.splitlines()) <= 40 for text in blocks)


@pytest.mark.slow
def test_a_data_set_and_a_method_from_outside(train_cli: Cli, tmp_path: Path, npz: Path) -> None:
    """As a user would: files in a folder of his own, the command line, a resume and a prediction without them."""
    for name in ("my_npz.py", "my_method.py"):
        write(tmp_path / name, (EXAMPLES / name).read_text())
    common = [item for item in FAST if not item.startswith("data.")]
    result = train_cli(
        "+experiment=continual_digits", "extend=[my_npz.py,my_method.py]", "data=npz", f"data.file={npz}",
        "method=l2", "method.strength=0.5", "model=small_cnn", "model.input_size=16", "trainer.epochs=1",
        "data.val_size=20", "run_dir=run", *common,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    run = tmp_path / "run"
    kept = OmegaConf.load(run / "config.yaml")
    assert kept.data.file == str(npz)
    assert kept.method == {"name": "l2", "strength": 0.5}
    assert len(kept.extend) == 2
    assert all(re.fullmatch(r"/.*/my_(npz|method)\.py#sha256=[0-9a-f]{64}", item) for item in kept.extend)
    assert (run / "extensions" / "my_method.py").read_text() == (EXAMPLES / "my_method.py").read_text()

    for name in ("my_npz.py", "my_method.py"):  # the run's code is not what lies there by now
        (tmp_path / name).unlink()
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.load(npz)["test_x"][0]).save(images / "a.png")
    table = classify(run, [images], batch_size=8, skip_bad=False, progress=False).csv()
    assert len(table.splitlines()) == 2

    (run / "summary.json").unlink()
    again = train_cli(f"+resume={run}")
    assert again.returncode == 0, again.stderr
    assert (run / "summary.json").is_file()


def test_a_backbone_trains_freezes_and_predicts(tmp_path: Path, npz: Path) -> None:
    items = [extensions.allow(EXAMPLES / name) for name in ("my_npz.py", "my_backbone.py")]
    config = composed(tmp_path, "data=npz", f"data.file={npz}", "model=resnet34", "model.weights=none")
    config.extend, config.trainer.epochs = items, 2
    path = go(config)
    assert '"trained_blocks": [\n    "head"\n  ]' in (path / "summary.json").read_text()
    net, _, _ = load_run(path)
    assert isinstance(net, Blocks)
    state = load_file(path / "model.safetensors")
    resnet34(num_classes=10).load_state_dict(state)  # torchvision's own names
    assert items[1].endswith(net.code)
    # What was pretrained or computed with another version of the file is not taken.
    recipe = letters_recipe(parse_config(config.copy()))
    choice = GROUPS["model"]["resnet34"]
    GROUPS["model"].known["resnet34"] = Choice(choice.keys, replace(choice.thing, code="other"))
    assert letters_recipe(parse_config(config.copy())).run_dir != recipe.run_dir
    assert recipe.extend == items


def test_a_method_of_adaptation(tmp_path: Path) -> None:
    extensions.allow(EXAMPLES / "my_adaptation.py")
    config = composed(
        tmp_path, "+experiment=adapt_digits", "adaptation=ddc", "model=small_cnn", "model.weights=none",
        "model.input_size=16", "trainer.epochs=1", "source.train_size=100",
    )  # fmt: skip
    path = go(config)
    assert "train/alignment" in (path / "metrics.jsonl").read_text()
    config = composed(tmp_path, "+experiment=adapt_digits", "adaptation=ddc", "adaptation.weight=0")
    with pytest.raises(UserError, match=r"adaptation\.weight=0"):
        parse_config(config)


def test_l2_is_its_formula() -> None:
    """After a task, the loss grows by strength/2 times the squared way that the weights have gone since."""
    from tests.continual.conftest import TinyNet, finish_task, setting_of, task_batches, tiny_stream

    extensions.allow(EXAMPLES / "my_method.py")
    stream, net = tiny_stream(), TinyNet()
    config = GROUPS["method"]["l2"].keys(name="l2", strength=3.0)
    method = methods.build_method(config, setting_of(stream), net)  # type: ignore[arg-type]
    method.begin_task(net, stream.tasks[0])  # type: ignore[arg-type]
    batch = next(task_batches(stream, stream.tasks[0]))
    plain = GROUPS["method"]["naive"].thing.loss(method, net, batch)[0]  # type: ignore[arg-type]
    assert float(method.loss(net, batch)[0].detach()) == float(plain.detach())  # type: ignore[arg-type]
    finish_task(method, net, stream, stream.tasks[0])
    old = [parameter.detach().clone() for parameter in net.parameters()]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    way = sum(float((new - was).square().sum().detach()) for new, was in zip(net.parameters(), old, strict=True))
    plain = GROUPS["method"]["naive"].thing.loss(method, net, batch)[0]  # type: ignore[arg-type]
    assert float((method.loss(net, batch)[0] - plain).detach()) == pytest.approx(1.5 * way, rel=1e-4)  # type: ignore[arg-type]


def test_files_of_the_version_before_find_what_they_derive_from() -> None:
    """The keys of a choice stand beside it now; where they used to be they are still found."""
    from tlcl import config, config_adaptation, config_continual

    assert config.DigitsConfig is GROUPS["data"]["digits"].keys
    assert config.ResNet18Config is GROUPS["model"]["resnet18"].keys
    assert config_continual.OnlineEWCConfig is GROUPS["method"]["online_ewc"].keys
    assert config_adaptation.DANNConfig is GROUPS["adaptation"]["dann"].keys
    with pytest.raises(ImportError, match="NoConfig"):
        from tlcl.config import NoConfig  # noqa: F401


def test_what_is_added_is_compared_by_its_name() -> None:
    extensions.allow(EXAMPLES / "my_method.py")
    assert method_group("l2 strength=2", NAMED["continual"]) == {"name": "l2", "strength": 2}


def test_a_config_alone_runs_no_code(tmp_path: Path) -> None:
    """A run from elsewhere names a file: it is refused until the user allows it, and then that very content."""
    mark = tmp_path / "ran"
    file = write(tmp_path / "foreign.py", f"open({str(mark)!r}, 'a').write('x')\n")
    for item in (str(file), f"{file}{extensions.MARK}{'0' * 64}"):
        config = composed(tmp_path)
        config.extend = [item]
        with pytest.raises(UserError, match=r"foreign\.py is code that you have not named"):
            parse_config(config)
    assert not mark.exists()

    command = [sys.executable, "-m", "tlcl.extensions", str(file)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    item = shown.removeprefix("allowed: ").strip()
    assert mark.read_text() == "x"
    file.write_text("raise RuntimeError\n")  # the hash names the content, not the place
    config.extend = [item]
    assert parse_config(config).extend == [item]
    parse_config(config)
    assert mark.read_text() == "xx"  # once in this process
    config.extend = [str(file)]
    with pytest.raises(UserError, match="is code that you have not named"):
        parse_config(config)

    digest = item.partition(extensions.MARK)[2]
    extensions.LOADED.clear()
    write(extensions.allowed_folder() / f"{digest}.py", "raise RuntimeError")  # a copy that was changed
    config.extend = [item]
    with pytest.raises(UserError, match="is code that you have not named"):
        parse_config(config)


def test_a_command_line_allows_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one file.py", "")
    extensions.allow_named(["data=digits", "extend=['one file.py']"])
    assert extensions.run_extensions(["one file.py"])[0].startswith(f"{tmp_path}/one file.py#sha256=")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import nothing_of_that_name\n", ["line 1", "ModuleNotFoundError", "nothing_of_that_name"]),
        ("x = 1\nx.y\n", ["line 2", "AttributeError"]),
        ("x = 1\n\ndef (:\n", ["line 3", "SyntaxError"]),
        (
            "from tlcl.extend import register_method\nfrom tlcl.config.continual import MethodConfig\n"
            "from tlcl.continual.methods.base import Method\nregister_method('er', MethodConfig, Method)\n",
            ["method=er is there already"],
        ),
        (
            "from tlcl.extend import register_data\nregister_data('mine', dict, print)\n",
            ["data=mine", "DataConfig"],
        ),
    ],
    ids=["import", "attribute", "syntax", "taken", "config"],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, text: str, named: list[str]) -> None:
    file = write(tmp_path / "mine.py", text)
    with pytest.raises(UserError) as caught:
        extensions.allow(file)
    assert all(part in str(caught.value) for part in named), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", ["extend=mine.py", "extend=[1]", "extend=[", "extend=[a.py],[b.py]"])
def test_extend_is_a_list_of_files(argument: str) -> None:
    with pytest.raises(UserError, match="must be a list of files"):
        extensions.allow_named([argument])


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"nowhere\.py cannot be read: No such file"):
        extensions.allow_named(["extend=[nowhere.py]"])


def test_blocks_have_the_names_that_thaw(tmp_path: Path) -> None:
    text = (EXAMPLES / "my_backbone.py").read_text().replace('{"stem": stem', '{"first": stem')
    extensions.allow(write(tmp_path / "odd.py", text))
    config = parse_config(composed(tmp_path, "model=resnet34"))
    with pytest.raises(UserError, match="model=resnet34 has the blocks first, layer1"):
        build_model(config.model, 10, 0)
