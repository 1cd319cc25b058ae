"""Numbers that are not finite, and memory that runs out."""

import resource
from collections.abc import Iterator
from functools import partial

import torch
from safetensors.torch import load_file, save_file

from torture.case import Broken, Case
from torture.expect import nothing_lost, sentence
from torture.jobs import DANN, ER, FINETUNE, SMALL, Job, complete
from torture.workplace import Workplace

FAMILY = "Numbers and memory"
NOT_FINITE = "exit code 1 and one sentence with epoch, batch, rates and remedies; what was written stays"
LIMIT = 2 << 30
HUGE = (
    *SMALL, "model=resnet18", "model.input_size=256", "data.train_size=1200", "data.batch_size=1200", "thaw=all",
    "trainer.epochs=1",
)  # fmt: skip


def cases() -> Iterator[Case]:
    """A loss that is not finite in each kind of run; too little memory."""
    for job in (FINETUNE, ER, DANN):
        yield Case(
            FAMILY, f"loss not finite: {job.name}", f"{job.what}, with optim.lr=1e30", NOT_FINITE,
            partial(_diverges, job=job), alone=False,
        )  # fmt: skip
    yield Case(
        FAMILY, "NaN in the weights to begin with", "model.weights=weights.safetensors with one NaN",
        "exit code 2 and one sentence that names the tensor", _nan_weights, alone=False,
    )  # fmt: skip
    yield Case(
        FAMILY, "out of memory", "ResNet-18, 1200 images of 256×256 a step, in 2 GiB of memory (RLIMIT_DATA)",
        "exit code 1 and one sentence that names data.batch_size and what to lower", _out_of_memory,
    )  # fmt: skip
    yield Case(
        FAMILY, "out of memory in a sweep", "two jobs, the first with too large a batch",
        "the second is run; exit code 1; +resume tries the first again", _out_of_memory_in_a_sweep,
    )  # fmt: skip


def _diverges(place: Workplace, job: Job) -> str:
    arguments = (*job.arguments, "optim.name=sgd", "optim.lr=1e30", "optim.schedule=constant")
    said = sentence(place.train(*arguments), 1, "not finite", "epoch", "batch", "optim.lr")
    nothing_lost(place.path / "run")
    return said


def _nan_weights(place: Workplace) -> str:
    whole, _ = FINETUNE.whole(place)
    state = load_file(whole / "model.safetensors")
    name = next(key for key, value in state.items() if value.ndim == 4)
    state[name].view(-1)[0] = torch.nan
    save_file(state, place.path / "weights.safetensors")
    finished = place.train(*FINETUNE.arguments, "model.weights=weights.safetensors")
    return sentence(finished, 2, "weights.safetensors", "NaN")


def _limit_data() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


def _out_of_memory(place: Workplace) -> str:
    said = sentence(place.train(*HUGE, before=_limit_data), 1, "out of memory", "data.batch_size=1200", "smaller")
    nothing_lost(place.path / "run")
    complete(place.train(*HUGE, "run_dir=small", "model.input_size=32", "data.batch_size=64", before=_limit_data))
    return f"{said}; with a smaller batch it is complete"


def _out_of_memory_in_a_sweep(place: Workplace) -> str:
    arguments = [item for item in HUGE if not item.startswith(("run_dir=", "model.input_size="))]
    sweep = ("-m", *arguments, "model.input_size=256,16", "hydra.sweep.dir=sweep")
    finished = place.train(*sweep, before=_limit_data)
    said = sentence(finished, 1, "1 of 2 jobs failed", "+resume=sweep")
    if "out of memory" not in finished.out:
        raise Broken("nothing says that the memory ran out")
    if not (place.path / "sweep" / "1" / "summary.json").is_file():
        raise Broken("the second job was not run")
    return f"{said}; the second job is complete"
