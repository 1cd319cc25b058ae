"""From the `method` group to a method."""

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import GROUPS
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.errors import UserError


def method_class(config: MethodConfig) -> type[Method]:
    """The class that `config.name` names."""
    found: type[Method] = GROUPS["method"][config.name].thing
    return found


def build_method(config: MethodConfig, setting: Setting, network: Network) -> Method:
    """The method that `config.name` names, in its state before the first task.

    Raises:
        UserError: it cannot be with these keys, or takes more memory than there is.
    """
    try:
        return method_class(config)(setting, network, config)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("can't allocate", "out of memory", "overflow")):
            raise
        about = ", ".join(f"method.{key}={value}" for key, value in vars(config).items())
        raise UserError(f"{about}: more memory than there is") from None
