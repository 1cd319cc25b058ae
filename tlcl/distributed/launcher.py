"""Whether a launcher, torchrun or SLURM's srun, started this process as one of several. Needs no torch."""

import os

from tlcl.config.schema import TrainerConfig
from tlcl.errors import UserError
from tlcl.system.figures import counted


def launched_as() -> tuple[int, int]:
    """(rank, number of processes) that a launcher gave this process; (0, 1) where none did.

    srun is told apart from a mere allocation (`salloc`, a batch script's own shell) as Lightning does it.
    """
    variables = os.environ
    if "TORCHELASTIC_RUN_ID" in variables:
        return int(variables["RANK"]), int(variables["WORLD_SIZE"])
    alone = variables.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SLURM_PROCID" not in variables
    if "SLURM_NTASKS" in variables and not alone:
        return int(variables["SLURM_PROCID"]), int(variables["SLURM_NTASKS"])
    return 0, 1


def check_launched(trainer: TrainerConfig) -> None:
    """That a launcher started as many processes as the config has, and one where only a launcher can.

    Raises:
        UserError: it did not.
    """
    _, processes = launched_as()
    given = f"trainer.devices={trainer.devices} and trainer.num_nodes={trainer.num_nodes}"
    if processes == 1:
        if trainer.num_nodes > 1:
            raise UserError(
                f"trainer.num_nodes={trainer.num_nodes} needs a launcher that starts a process for each device on "
                "each node, torchrun or srun; see docs/distributed.md"
            )
        return
    nodes = processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        nodes = int(os.environ.get("SLURM_NNODES", 1))
    if (trainer.devices, trainer.num_nodes) != (processes // nodes, nodes):
        raise UserError(
            f"{given}, and the launcher started {counted(processes, 'process', 'processes')} on "
            f"{counted(nodes, 'node')}; set trainer.devices={processes // nodes} trainer.num_nodes={nodes}, or "
            "start another number"
        )
