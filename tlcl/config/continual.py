"""The config keys of continual learning: groups `continual` and `compare`, and what methods share of `method`."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Lt

from tlcl.config.ranges import OneOf

Seed = Annotated[int, Ge(0), Lt(10**18)]


@dataclass
class ContinualConfig:
    """How the classes come: see `tlcl.continual.stream`."""

    scenario: Annotated[str, OneOf("class_incremental", "task_incremental", "domain_incremental")]
    classes_per_task: Any
    class_order: Any
    head: Annotated[str, OneOf("new", "kept")]


@dataclass
class CompareConfig:
    """Runs of several methods with several seeds: see `tlcl.sweeps.compare`."""

    methods: list[str]
    seeds: list[Seed]
    jobs: Annotated[int, Ge(1)] = 1


@dataclass
class MethodConfig:
    """The key that every method has."""

    name: str


@dataclass
class BufferConfig(MethodConfig):
    """A method with a rehearsal buffer of `buffer_size` images."""

    buffer_size: Annotated[int, Ge(1)] = 200


@dataclass
class ReplayConfig(BufferConfig):
    """A method that also draws `replay_batch` of them a step."""

    replay_batch: Annotated[int, Ge(1)] = 32
