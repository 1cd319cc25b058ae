"""From the command that asked for a run, the one that compares methods on the same data."""

import json
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.reports.asked import compare_command
from tlcl.sweeps.compare import children


def recorded(folder: Path, command: str) -> Path:
    (folder / "environment.json").write_text(json.dumps({"command": command}))
    words = [word for word in shlex.split(command)[2:] if "=" in word]
    with suppress(UserError):  # a run of before, or of presets that are not here
        config = composed_config([*words, "run_dir=run"])
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    return folder


def continual(folder: Path) -> str:
    return compare_command(folder, "method", "default", "continual_compare")


def test_data_network_and_settings_stay(tmp_path: Path) -> None:
    asked = (
        "tlcl train +experiment=continual_pacs 'data.root=/my domains' method=er method.buffer_size=90 seed=3 "
        "optim.lr=0.02 run_dir=runs/one logger=none"
    )
    command = continual(recorded(tmp_path, asked))
    assert command == (
        "tlcl train +experiment=continual_pacs 'data.root=/my domains' optim.lr=0.02 logger=none '~method' "
        "compare=default"
    )
    config = parse_config(composed_config(shlex.split(command)[2:]))
    assert config.method is None
    assert config.compare is not None
    assert (config.data.source, config.optim.lr) == ("domain_stream", 0.02)


def test_presets_of_ones_own_are_found_again(tmp_path: Path) -> None:
    command = continual(recorded(tmp_path, "tlcl train --config-dir 'my presets' +experiment=mine method=er"))
    assert command == "tlcl train --config-dir 'my presets' +experiment=mine '~method' compare=default"


def test_without_an_experiment(tmp_path: Path) -> None:
    asked = "tlcl train data=digits continual=class_incremental method=er trainer.select=last logger=none"
    command = continual(recorded(tmp_path, asked))
    config = parse_config(composed_config(shlex.split(command)[2:]))
    assert config.method is None
    assert config.compare is not None
    assert config.data.source == "digits"


def test_of_an_adaptation(tmp_path: Path) -> None:
    asked = "python -m tlcl.train +experiment=adapt_digits adaptation=ccsa adaptation.target_labels=3 logger=none"
    command = compare_command(recorded(tmp_path, asked), "adaptation", "adaptation", "adapt_compare")
    assert command == "python -m tlcl.train +experiment=adapt_digits logger=none '~adaptation' compare=adaptation"
    config = parse_config(composed_config(shlex.split(command)[3:]))
    assert config.adaptation is None
    assert config.compare is not None


@pytest.mark.parametrize("select", ["last", "best adaptation.validator=source_entropy"])
def test_of_an_adaptation_without_an_experiment(tmp_path: Path, select: str) -> None:
    asked = f"tlcl train data@source=rendered_digits adaptation=mcc thaw=all trainer.select={select} logger=none"
    command = compare_command(recorded(tmp_path, asked), "adaptation", "adaptation", "adapt_compare")
    assert len(children(parse_config(composed_config(shlex.split(command)[2:])), tmp_path)) == 3


def test_outputs_that_a_closed_form_keeps_are_not_asked_of_others(tmp_path: Path) -> None:
    asked = "tlcl train +experiment=continual_digits method=ncm data.crop_padding=2 thaw=all data.cache_prefix=ram"
    given = recorded(tmp_path, asked)
    with pytest.raises(UserError, match=r"cannot hold what data\.crop_padding=2 draws anew"):
        children(parse_config(composed_config(shlex.split(continual(given))[2:])), tmp_path)
    command = compare_command(given, "method", "default", "continual_compare", anew=["~data.cache_prefix"])
    assert len(children(parse_config(composed_config(shlex.split(command)[2:])), tmp_path)) == 3


def test_of_a_job_of_a_sweep(tmp_path: Path) -> None:
    given = ["+experiment=continual_digits", "method=lwf", "thaw.depth=1", "hydra.sweep.dir=runs/sweep"]
    (tmp_path / "job.json").write_text(json.dumps({"number": 0, "overrides": given}))
    command = continual(recorded(tmp_path, "tlcl train -m method=lwf,er"))
    assert command == "tlcl train +experiment=continual_digits thaw.depth=1 '~method' compare=default"


def test_a_job_of_a_sweep_with_presets_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"number": 0, "overrides": ["+experiment=mine", "method=lwf"]}))
    command = continual(recorded(tmp_path, "tlcl train -m --config-dir presets +experiment=mine method=lwf,er"))
    assert command == "tlcl train --config-dir presets +experiment=mine '~method' compare=default"


@pytest.mark.parametrize(
    ("asked", "anew"),
    [
        ("adaptation=mmd adaptation.validator=source_entropy trainer.select=best", []),
        ("adaptation=adabn thaw=head_only", ["thaw=all"]),
        ("adaptation=adabn thaw=head_only data.crop_padding=1 data.cache_prefix=ram",
         ["thaw=all", "~data.cache_prefix"]),
    ],
)  # fmt: skip
def test_what_one_method_was_given_stops_no_comparison(tmp_path: Path, asked: str, anew: list[str]) -> None:
    given = recorded(tmp_path, f"tlcl train +experiment=adapt_digits {asked} data.batch_size=16")
    command = compare_command(given, "adaptation", "adaptation", "adapt_compare", anew=anew)
    config = parse_config(composed_config(shlex.split(command)[2:]))
    assert config.compare is not None
    assert (config.trainer.select, config.data.batch_size) == ("last", 16)
    assert config.data.cache_prefix == "auto"
    for run in children(config, tmp_path):
        assert run.config.adaptation is not None
    assert len(config.schedule.trainable(0)) > 1


@pytest.mark.parametrize(
    "asked",
    ["", "tlcl train", "tlcl train +experiment=continual_compare logger=none", "tlcl train +resume=latest",
     "tlcl train +experiment=continual_pacs data.root=A ~method compare=default"],
)  # fmt: skip
def test_where_the_command_does_not_say(tmp_path: Path, asked: str) -> None:
    """From Python, of a comparison's own runs, or of a run that was resumed."""
    assert continual(recorded(tmp_path, asked)) == "tlcl train +experiment=continual_compare"


def test_the_runs_own_method_takes_part_with_its_settings(tmp_path: Path) -> None:
    asked = "tlcl train +experiment=continual_digits method=der method.buffer_size=90 method.alpha=0.2 seed=3"
    given = recorded(tmp_path, asked)
    command = compare_command(given, "method", "default", "continual_compare", "der")
    runs = children(parse_config(composed_config(shlex.split(command)[2:])), tmp_path)
    assert [run.settings["method"] for run in runs] == ["naive", "er", "der_pp", "der buffer_size=90 alpha=0.2"]
    own = vars(runs[-1].config.method)
    assert (own["buffer_size"], own["alpha"]) == (90, 0.2)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("method=ranpac method={projection:500}", "ranpac projection=500"),
        ("method=er method.buffer_size=200", "er"),  # what it has anyway
        ("method=slda", "slda"),
    ],
)
def test_what_counts_is_what_the_run_had(tmp_path: Path, given: str, name: str) -> None:
    root = recorded(tmp_path, f"tlcl train +experiment=continual_digits {given}")
    command = compare_command(root, "method", "default", "continual_compare", given.split("=")[1].split()[0])
    config = parse_config(composed_config(shlex.split(command)[2:]))
    assert config.compare is not None
    assert config.compare.methods == list(dict.fromkeys(["naive", "er", "der_pp", name]))


def test_a_comparison_that_was_left_out_stays_out(tmp_path: Path) -> None:
    asked = "tlcl train +experiment=continual_paper ~compare method=er"
    command = compare_command(recorded(tmp_path, asked), "method", "default", "continual_compare", "er")
    assert parse_config(composed_config(shlex.split(command)[2:])).compare is not None


def test_lists_of_the_own_method(tmp_path: Path) -> None:
    asked = (
        "tlcl train +experiment=continual_digits method=layers 'method.blocks=[layer3, layer4]' "
        "data.cache_prefix=ram"
    )
    given, anew = recorded(tmp_path, asked), ["~data.cache_prefix"]
    command = compare_command(given, "method", "default", "continual_compare", "layers", ["joint"], anew)
    runs = children(parse_config(composed_config(shlex.split(command)[2:])), tmp_path)
    assert [run.config.method.name for run in runs if run.config.method] == ["joint", "layers"]
    assert getattr(runs[-1].config.method, "blocks", None) == ["layer3", "layer4"]


def test_the_own_method_is_compared_at_the_last_epoch_too(tmp_path: Path) -> None:
    chosen = "adaptation.validator=source_entropy trainer.select=best adaptation.weight=0.3"
    given = recorded(tmp_path, f"tlcl train +experiment=adapt_digits adaptation=mcc {chosen}")
    methods = ["source_only", "dann", "mcc"]
    command = compare_command(given, "adaptation", "adaptation", "adapt_compare", "mcc", methods)
    runs = children(parse_config(composed_config(shlex.split(command)[2:])), tmp_path)
    assert [run.settings["method"] for run in runs] == [*methods, "mcc weight=0.3"]
    assert {run.config.trainer.select for run in runs} == {"last"}


def test_a_method_of_the_comparison_is_not_named_twice(tmp_path: Path) -> None:
    given = recorded(tmp_path, "tlcl train +experiment=continual_digits method=er")
    command = compare_command(given, "method", "default", "continual_compare", "er")
    assert command == "tlcl train +experiment=continual_digits '~method' compare=default"
    assert "compare.methods" not in compare_command(given, "method", "default", "continual_compare", "unknown")
