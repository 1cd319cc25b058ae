"""From the `method` group to a method."""

from tlcl.config.continual import MethodConfig
from tlcl.continual.methods.agem import AGEM
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.continual.methods.cumulative import Cumulative
from tlcl.continual.methods.der import DER
from tlcl.continual.methods.der_pp import DERpp
from tlcl.continual.methods.er import ER
from tlcl.continual.methods.er_ace import ERACE
from tlcl.continual.methods.ewc import EWC, OnlineEWC
from tlcl.continual.methods.icarl import ICaRL
from tlcl.continual.methods.joint import Joint
from tlcl.continual.methods.lwf import LwF
from tlcl.continual.methods.naive import Naive
from tlcl.continual.methods.ncm import NCM
from tlcl.continual.methods.ranpac import RanPAC
from tlcl.continual.methods.si import SI
from tlcl.continual.methods.slda import SLDA
from tlcl.errors import UserError

METHODS: dict[str, type[Method]] = {
    "naive": Naive,
    "joint": Joint,
    "cumulative": Cumulative,
    "ewc": EWC,
    "online_ewc": OnlineEWC,
    "si": SI,
    "lwf": LwF,
    "er": ER,
    "er_ace": ERACE,
    "agem": AGEM,
    "der": DER,
    "der_pp": DERpp,
    "icarl": ICaRL,
    "ncm": NCM,
    "slda": SLDA,
    "ranpac": RanPAC,
}


def build_method(config: MethodConfig, setting: Setting, network: Network) -> Method:
    """The method that `config.name` names, in its state before the first task.

    Raises:
        UserError: it cannot be with these keys, or takes more memory than there is.
    """
    try:
        return METHODS[config.name](setting, network, config)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("can't allocate", "out of memory", "overflow")):
            raise
        about = ", ".join(f"method.{key}={value}" for key, value in vars(config).items())
        raise UserError(f"{about}: more memory than there is") from None
