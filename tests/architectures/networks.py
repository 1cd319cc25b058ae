"""Networks of timm by family, the smallest of each first, and the smallest images that they take."""

from collections import defaultdict

import timm
import torch
from timm.models import _registry

MOST_PARAMETERS = 32_000_000
A_FAMILY = 4
# Families that do more than run their parts in a row, or end in no linear layer; each is refused in one sentence.
REFUSED = frozenset(
    "coat convit cpubone crossvit dla dpn efficientformer efficientformer_v2 efficientvim efficientvit_msra hrnet iformer levit "
    "mobilenetv5 mvitv2 naflexvit nasnet nest pit pnasnet repvit resnetv2 selecsls sequencer shvit swiftformer tnt twins "
    "visformer vision_transformer_sam volo xcit deepseek_vit gemma4_vit qwen3_vit".split()
)


def parameters(arch: str) -> int:
    with torch.device("meta"):
        try:
            return sum(parameter.numel() for parameter in timm.create_model(arch).parameters())
        except Exception:  # that do not know the meta device
            return 10**12


def smallest_size(arch: str) -> int:
    """Pixels a side: the network's own where it is fixed, else 64 or what its config asks for."""
    known = timm.get_pretrained_cfg(arch)
    if known is None:
        return 224
    if known.fixed_input_size:
        return int(known.input_size[-1])
    return int((known.min_input_size or (3, 64, 64))[-1])


def families() -> dict[str, list[str]]:
    """Family -> its networks, the smallest first."""
    found: dict[str, list[str]] = defaultdict(list)
    for arch in timm.list_models():
        found[_registry._model_to_module[arch]].append(arch)
    return {family: sorted(found[family], key=parameters) for family in sorted(found)}


def chosen() -> list[str]:
    """Up to four networks of each family that is known, and more of the large families."""
    networks: list[str] = []
    for family, archs in families().items():
        if family in REFUSED:
            continue
        small = [arch for arch in archs if parameters(arch) <= MOST_PARAMETERS]
        networks += small[: max(A_FAMILY, min(8, len(archs) // 6))] or archs[:1]
    return networks
