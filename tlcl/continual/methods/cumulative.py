"""Each task on everything so far: what replay with an unbounded buffer and unbounded time would do."""

from typing import ClassVar

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method


@register("method", "cumulative", MethodConfig)
class Cumulative(Method):
    """Plain cross-entropy on the data of all tasks seen, starting from the last weights."""

    trains_on: ClassVar[str] = "seen"
