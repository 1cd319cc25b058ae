"""Where a quadratic penalty is too steep for the optimizer's steps, a sentence says so."""

import logging
from collections.abc import Sequence

from torch import Tensor

from tlcl.continual.methods.base import Setting

log = logging.getLogger(__name__)


def warn_where_steep(setting: Setting, curvatures: Sequence[Tensor]) -> bool:
    """Whether steps of SGD on the penalty alone grow, at the learning rate of the last layer; a warning says so.

    Gradient descent on h/2 (theta - theta*)^2 goes back and forth with growing steps where lr h passes 2, with
    momentum m where it passes 2 (1 + m) (Polyak 1964, "Some methods of speeding up the convergence of iteration
    methods").

    Args:
        curvatures: h of each parameter.
    """
    steepest = max((float(one.max()) for one in curvatures if one.numel()), default=0.0)
    limit = 2 * (1 + setting.momentum)
    if setting.sgd_lr is None or setting.sgd_lr * steepest <= limit:
        return False
    log.warning(
        "warning: optim.lr=%g times the steepest curvature of the penalty, %.3g, is more than %.3g: steps on it "
        "will grow; lower method.strength or optim.lr",
        setting.sgd_lr, steepest, limit,
    )  # fmt: skip
    return True
