"""Flags of the command line: those there are, and what a wrong one was meant to be."""

import pytest

from tlcl.config.flags import check_alone, check_flags, preset_flags
from tlcl.errors import UserError


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "seed=0,1"], ["--multirun"], ["--cfg", "job", "--package", "optim"], ["--config-dir=mine"],
        ["-cd", "mine", "+experiment=mine"], ["-cjob"], ["--config-d", "mine"], ["~method", "seed=-1"],
    ],
)  # fmt: skip
def test_flags_there_are(words: list[str]) -> None:
    check_flags(words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=1", "--seed", "2"], "there is no flag '--seed'; a key is given without dashes: seed=VALUE"),
        (["--epochs=3"], "there is no flag '--epochs'; a key is given without dashes: trainer.epochs=3"),
        (["--batch-size=8"], "a key is given without dashes: data.batch_size=8"),
        (["--optim.lr=1"], "a key is given without dashes: optim.lr=1"),
        (["--resume", "x"], "there is no flag '--resume'; a run is resumed with [+]resume=RUN_DIR"),
        (["--resum"], "a run is resumed with [+]resume=RUN_DIR"),
        (["--mutlirun"], "did you mean --multirun?"),
        (["--name=x"], "a key is given without dashes: name=x"),
        (["--foo"], "there is no flag '--foo'; tlcl train --help shows them"),
    ],
)
def test_a_wrong_flag_is_told_what_was_meant(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("?", "[?]")):
        check_flags(words)


def test_a_folder_of_presets_is_part_of_a_command() -> None:
    asked = ["tlcl", "train", "--config-dir", "my presets", "+experiment=mine", "-cd=other", "-m", "seed=1"]
    assert preset_flags(asked) == ["--config-dir", "my presets", "-cd=other"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--package", "optim"], "--package is of --cfg"),
        (["--resolve"], "--resolve is of --cfg"),
        (["hydra.sweep.dir=x", "seed=1"], "add -m, or set run_dir"),
    ],
)
def test_what_goes_with_something_else_alone(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_alone(words)
    check_alone([*words, "--cfg", "job"] if "hydra.sweep.dir=x" not in words else [*words, "-m"])


@pytest.mark.parametrize("words", [["-m", "seed=0,1", "--cfg", "job"], ["--info", "--multirun"]])
def test_what_prints_a_config_prints_one(words: list[str]) -> None:
    with pytest.raises(UserError, match="prints the config of one run; leave out -m"):
        check_alone(words)


def test_hydras_own_directory_is_not_read() -> None:
    with pytest.raises(UserError, match=r"hydra\.run\.dir is not read; a run's directory is run_dir=FOLDER"):
        check_alone(["hydra.run.dir=x"])


def test_slurm_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="needs Slurm's srun, which is not here"):
        check_alone(["-m", "seed=0,1", "hydra/launcher=slurm"])
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    check_alone(["-m", "seed=0,1", "hydra/launcher=slurm"])
