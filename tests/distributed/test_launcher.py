"""Which process this is, by torchrun's and SLURM's variables, and how many there must be."""

from pathlib import Path
from types import SimpleNamespace

import lightning.fabric.utilities.rank_zero as fabric_ranks
import pytest
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from tests.conftest import composed
from tests.data.conftest import tiny_module
from tlcl.config.parse import parse_config
from tlcl.distributed.ddp import ThawingDDP
from tlcl.distributed.launcher import check_launched, launched_as
from tlcl.errors import UserError
from tlcl.finetuning.trainer import build_trainer

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "1", "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node07", "MASTER_PORT": "29500",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_NAME": "digits", "SLURM_JOB_ID": "1234", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_NODELIST": "node[07-08]",
}  # fmt: skip


@pytest.mark.parametrize(("world_size", "kind"), [(26, "51 training"), (10, "9 validation")])
def test_too_few_images_for_the_processes(world_size: int, kind: str) -> None:
    data = tiny_module()
    data.trainer = SimpleNamespace(global_rank=0, world_size=world_size, current_epoch=0)
    load = data.train_dataloader if "training" in kind else data.val_dataloader
    with pytest.raises(UserError, match=f"{kind} images cannot be shared by {world_size} processes"):
        load()


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What building a Trainer in another's place would leave behind is undone."""
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fabric_ranks.rank_zero_only, "rank", 0, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "kind", "address"),
    [(TORCHRUN, TorchElasticEnvironment, "node07"), (SLURM, SLURMEnvironment, "node07")],
    ids=["torchrun", "slurm"],
)
def test_launchers_say_which_process_this_is(
    ranks: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], kind: type, address: str
) -> None:
    """Process 4 of 4, on the second of two nodes."""
    for name, value in variables.items():
        ranks.setenv(name, value)
    config = parse_config(composed(tmp_path, "trainer.devices=2", "trainer.num_nodes=2"))
    check_launched(config.trainer)
    trainer = build_trainer(config, tmp_path, [], [])
    assert launched_as() == (3, 4)
    place = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
    assert isinstance(place, kind)
    assert isinstance(trainer.strategy, ThawingDDP)
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size) == (3, 1, 1, 4)
    assert not trainer.is_global_zero
    assert place.main_address == address
    assert place.creates_processes_externally


def test_without_a_launcher_this_is_the_first(ranks: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ranks.setenv("SLURM_NTASKS", "4")  # in an allocation, but not started by srun
    config = parse_config(composed(tmp_path, "trainer.devices=2"))
    assert launched_as() == (0, 1)
    trainer = build_trainer(config, tmp_path, [], [])
    assert isinstance(trainer.strategy.cluster_environment, LightningEnvironment)  # type: ignore[attr-defined]


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM], ids=["torchrun", "slurm"])
@pytest.mark.parametrize("given", [(1, 1), (4, 1), (1, 4)])
def test_another_number_than_the_launcher_started(
    ranks: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], given: tuple[int, int]
) -> None:
    for name, value in variables.items():
        ranks.setenv(name, value)
    config = parse_config(composed(tmp_path, f"trainer.devices={given[0]}", f"trainer.num_nodes={given[1]}"))
    with pytest.raises(UserError, match=r"set trainer\.devices=2 trainer\.num_nodes=2"):
        check_launched(config.trainer)


def test_several_nodes_need_a_launcher(ranks: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = parse_config(composed(tmp_path, "trainer.num_nodes=2"))
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2 needs a launcher"):
        check_launched(config.trainer)
