"""The config keys of continual learning: groups `continual`, `method` and `compare`."""

from dataclasses import dataclass
from typing import Any


@dataclass
class ContinualConfig:
    """How the classes come: see `tlcl.continual.stream`."""

    scenario: str
    classes_per_task: Any
    class_order: Any
    head: str


@dataclass
class CompareConfig:
    """Runs of several methods with several seeds: see `tlcl.jobs.compare`."""

    methods: list[str]
    seeds: list[int]


@dataclass
class MethodConfig:
    """The key that every method has."""

    name: str


@dataclass
class EWCConfig(MethodConfig):
    strength: float = 10.0
    fisher_images: int = 128


@dataclass
class OnlineEWCConfig(EWCConfig):
    gamma: float = 1.0


@dataclass
class SIConfig(MethodConfig):
    strength: float = 0.1
    damping: float = 0.1


@dataclass
class LwFConfig(MethodConfig):
    strength: float = 1.0
    temperature: float = 2.0


@dataclass
class BufferConfig(MethodConfig):
    """A method with a rehearsal buffer of `buffer_size` images."""

    buffer_size: int = 200


@dataclass
class ReplayConfig(BufferConfig):
    """A method that also draws `replay_batch` of them a step."""

    replay_batch: int = 32


@dataclass
class AGEMConfig(ReplayConfig):
    replay_batch: int = 64


@dataclass
class DERConfig(ReplayConfig):
    alpha: float = 0.03


@dataclass
class DERppConfig(DERConfig):
    alpha: float = 0.01
    beta: float = 0.5


@dataclass
class SLDAConfig(MethodConfig):
    shrinkage: float = 1e-4


@dataclass
class RanPACConfig(MethodConfig):
    projection: int = 2000


METHODS: dict[str, type] = {
    "naive": MethodConfig,
    "joint": MethodConfig,
    "cumulative": MethodConfig,
    "ewc": EWCConfig,
    "online_ewc": OnlineEWCConfig,
    "si": SIConfig,
    "lwf": LwFConfig,
    "er": ReplayConfig,
    "er_ace": ReplayConfig,
    "agem": AGEMConfig,
    "der": DERConfig,
    "der_pp": DERppConfig,
    "icarl": BufferConfig,
    "ncm": MethodConfig,
    "slda": SLDAConfig,
    "ranpac": RanPACConfig,
}
CHOICES: dict[str, tuple[str, ...]] = {
    "continual.scenario": ("class_incremental", "task_incremental", "domain_incremental"),
    "continual.head": ("new", "kept"),
}
# key -> smallest value, and whether that value itself is allowed
MINIMA: dict[str, tuple[float, bool]] = {
    "method.strength": (0, True),
    "method.fisher_images": (1, True),
    "method.gamma": (0, True),
    "method.damping": (0, False),
    "method.temperature": (0, False),
    "method.buffer_size": (1, True),
    "method.replay_batch": (1, True),
    "method.alpha": (0, True),
    "method.beta": (0, True),
    "method.shrinkage": (0, False),
    "method.projection": (1, True),
}
# key -> the value that must not be reached
SUPREMA: dict[str, float] = {"method.shrinkage": 1.0}
