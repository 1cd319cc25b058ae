"""Where a quadratic penalty is too steep for the optimizer's steps, a sentence says so."""

import logging
from collections.abc import Sequence

from torch import Tensor

from tlcl.continual.methods.base import Setting

log = logging.getLogger(__name__)


def largest_step(momentum: float) -> float:
    """The largest optim.lr times curvature with which SGD's steps on a quadratic shrink.

    With Nesterov's momentum m, as torch has it and every training here that has momentum: theta goes on by
    z² - (1 + m) (1 - a) z + m (1 - a) = 0, a = lr h, whose root leaves the unit circle at z = -1, where
    a = 2 (1 + m) / (1 + 2 m); 2 without momentum.
    """
    return 2 * (1 + momentum) / (1 + 2 * momentum)


def warn_where_steep(setting: Setting, curvatures: Sequence[Tensor]) -> bool:
    """Whether steps of SGD on the penalty alone grow, at the learning rate of the last layer; a warning says so.

    Gradient descent on h/2 (theta - theta*)^2 goes back and forth with growing steps beyond `largest_step`.

    Args:
        curvatures: h of each parameter.
    """
    steepest = max((float(one.max()) for one in curvatures if one.numel()), default=0.0)
    limit = largest_step(setting.momentum)
    if setting.sgd_lr is None or setting.sgd_lr * steepest <= limit:
        return False
    log.warning(
        "warning: optim.lr=%g times the steepest curvature of the penalty, %.3g, is more than %.3g: steps on it "
        "will grow; lower method.strength or optim.lr",
        setting.sgd_lr, steepest, limit,
    )  # fmt: skip
    return True
