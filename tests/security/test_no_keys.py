"""What a run leaves is meant to be shown to others: no key in the environment is in any file of it."""

import json
from pathlib import Path

import pytest

from tests.conftest import composed, go
from tlcl.jobs import finetune as finetuning

KEYS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_sentinelSentinelSentinel",
    "AWS_SECRET_ACCESS_KEY": "sentinel/aws/secret+access+key",
    "MY_PASSWORD": "correct horse battery staple",
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with W&B's offline file and a model artifact, made while the environment holds keys."""
    root = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "WANDB_MODE": "offline", "WANDB_DATA_DIR": str(root / "wandb")}.items():
            patch.setenv(name, value)
        wandb = ["logger=wandb", "logger.mode=auto", "logger.log_model=file"]
        config = composed(root, "model=small_cnn", "thaw.depth=0", "trainer.epochs=1", *wandb)
        return go(config, finetuning.run)


def test_no_file_of_a_run_holds_a_key(record: Path) -> None:
    files = [path for path in record.parent.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".wandb"]
    assert (record / "report.html") in files
    for path in files:
        content = path.read_bytes()
        for name, value in KEYS.items():
            assert value.encode() not in content, f"{name} in {path}"
            assert json.dumps(value)[1:-1].encode() not in content, f"{name} in {path}"


def test_the_search_would_find_one(record: Path) -> None:
    """What W&B stores is not packed, so that a search of its bytes sees what is in it."""
    (stored,) = record.rglob("*.wandb")
    assert b"small_cnn" in stored.read_bytes()
