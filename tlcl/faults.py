"""What the machine refuses a run, room on the disk or memory, as one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from tlcl.disk import disk_sentence
from tlcl.errors import Interrupted, Stopped, TrainingError

# How torch, CUDA and the C++ library say it; CUDA's own type of error is a RuntimeError too.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device had no memory left; what merely fails is another matter."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def memory_sentence(config: DictConfig) -> str:
    """What takes memory in a run of this config, and how to need less."""
    size = config.get("model", {}).get("input_size")
    pixels = f" or model.input_size={size}" if size else ""
    return (
        f"out of memory with data.batch_size={config.data.get('batch_size')}; start anew, in another run_dir, with "
        f"a smaller data.batch_size{pixels}, fewer thawed blocks or trainer.precision=bf16-mixed"
    )


@contextmanager
def as_sentences(config: DictConfig, directory: Path) -> Iterator[None]:
    """Errors of a run that the user can understand become one sentence; what was written stays.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM.
        Stopped: the disk is full, or refuses to be written.
        TrainingError: no memory left.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(directory) from None
    except Stopped as stop:
        raise stop.at(directory) from None
    except OSError as error:
        sentence = disk_sentence(error)
        if sentence is None:
            raise
        raise Stopped(sentence, directory) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(memory_sentence(config)) from None
