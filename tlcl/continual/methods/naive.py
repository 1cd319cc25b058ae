"""No protection at all: stochastic gradient descent on the current task."""

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method


@register("method", "naive", MethodConfig)
class Naive(Method):
    """Plain cross-entropy on the current task; the lower bound (SGD in Buzzega et al. 2020, table 2)."""
