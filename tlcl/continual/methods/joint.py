"""All tasks at once: the upper bound."""

from typing import ClassVar

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method


@register("method", "joint", MethodConfig)
class Joint(Method):
    """Plain cross-entropy on the data of all tasks in one training (JOINT in Buzzega et al. 2020, table 2).

    Its accuracy matrix has only the last row: there is no sequence.
    """

    trains_on: ClassVar[str] = "all"
