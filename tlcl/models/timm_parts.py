"""The parts of a timm network in the order in which it runs them, found in the network and proved against it.

Most networks run their children in a row. Those that do more between them (tokens and position embeddings, values
that every block takes) have a function here that says what their blocks do. Whatever was found is believed only
when it gives the network's own answer, to the bit.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.errors import UserError
from tlcl.models.blocks import FEATURES
from tlcl.models.layouts import FLAT, NCHW, NHWC, TOKENS, UNORDERED
from tlcl.models.parts import Run
from tlcl.models.timm_networks import REFUSALS

# Lists of blocks; other children, such as a ResNet's `layer1`, are a block each.
LISTS = re.compile(r"blocks\d*|stages|dense_stages|layers|levels|features|network|trunk|block|body")


@dataclass(frozen=True)
class Step:
    """One call in a network's forward pass.

    Attributes:
        path: of the module that it runs, in the network; empty for what no module alone does.
        run: (network, input) -> output, without any module in its closure, as networks are copied.
    """

    path: str
    run: Run


@dataclass(frozen=True)
class Plan:
    """Where the blocks of a network begin and end.

    Attributes:
        steps: name of a block of the backbone -> what it does, in order, the first one `stem`.
        owned: name of a block -> paths of the modules and parameters that it trains; of `features` what stands
            between the last block and the last layer.
        classifier: path of the last layer.
        layouts: block -> how its outputs lie: `NCHW`, `NHWC`, `tokens` (B, N, D) or `flat` (B, D).
        in_place: blocks that write into what they take.
        prefix: tokens of (B, N, D) that are no places of the image, before those that are.
    """

    steps: Mapping[str, tuple[Step, ...]]
    owned: Mapping[str, tuple[str, ...]]
    classifier: str
    layouts: Mapping[str, str]
    in_place: frozenset[str]
    prefix: int

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.steps, "head")


class Module:
    """`run` of a step: the module at a path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, network: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = network.get_submodule(self.path)(x)
        return found


def _module(path: str) -> Step:
    return Step(path, Module(path))


def in_a_row(network: nn.Module) -> Iterator[Step]:
    """The children one after another, those of a list by themselves."""
    for name, child in network.named_children():
        if LISTS.fullmatch(name) and isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (_module(f"{name}.{part}") for part, _ in child.named_children())
        else:
            yield _module(name)


def _tokens(network: Any, x: Tensor) -> Tensor:
    found = network._pos_embed(x)
    tokens: Tensor = found[0] if isinstance(found, tuple) else found
    return tokens


def _there(network: nn.Module, *paths: str) -> Iterator[Step]:
    return (_module(path) for path in paths if isinstance(getattr(network, path, None), nn.Module))


def _items(network: nn.Module, name: str, run: Callable[[str], Run]) -> Iterator[Step]:
    for part, _ in network.get_submodule(name).named_children():
        yield Step(f"{name}.{part}", run(f"{name}.{part}"))


def _transformer(
    network: nn.Module, begin: Run, between: Sequence[str], block: Callable[[str], Run]
) -> Iterator[Step]:
    """Patches, what makes tokens of them, modules that may be `between`, the blocks, and a last norm if any."""
    yield _module("patch_embed")
    yield Step("", begin)
    yield from _there(network, *between)
    yield from _items(network, "blocks", block)
    yield from _there(network, "norm")


def vision_transformer(network: Any) -> Iterator[Step]:
    """ViT, DeiT, DINOv2, CLIP, SigLIP: patches, tokens and positions, then the blocks."""
    return _transformer(network, _tokens, ("patch_drop", "norm_pre"), Module)


class Rotary:
    """A block of EVA, or of another transformer with rotary positions, which it takes beside the tokens."""

    def __init__(self, path: str) -> None:
        self.path, self.index = path, int(path.rpartition(".")[2])

    def __call__(self, network: Any, x: Tensor) -> Tensor:
        rope = network.rope
        if rope is not None:
            fixed = hasattr(rope, "feat_shape") and not getattr(network, "dynamic_img_size", False)
            rope = rope.get_embed() if fixed else rope.get_embed(shape=network.patch_embed.grid_size)
            if getattr(network, "rope_mixed", False):
                rope = rope[self.index]
        found: Tensor = network.get_submodule(self.path)(x, rope=rope)
        return found


def eva(network: Any) -> Iterator[Step]:
    """EVA, EVA-02, DINOv3, Perception Encoder: as a ViT, each block with rotary positions."""
    return _transformer(network, _tokens, ("norm_pre",), Rotary)


def _class_token(network: Any, x: Tensor) -> Tensor:
    token = network.cls_token
    return x if token is None else torch.cat((token.expand(x.shape[0], -1, -1), x), dim=1)


def _add_positions(network: Any, x: Tensor) -> Tensor:
    positions = getattr(network, "pos_embed", None)
    return x if positions is None else x + positions


def _class_token_and_positions(network: Any, x: Tensor) -> Tensor:
    return _add_positions(network, _class_token(network, x))


class SharedBias:
    """A block of BEiT, with the position bias that all blocks may share."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, network: Any, x: Tensor) -> Tensor:
        bias = None if network.rel_pos_bias is None else network.rel_pos_bias()
        found: Tensor = network.get_submodule(self.path)(x, shared_rel_pos_bias=bias)
        return found


class SharedPositions(SharedBias):
    """A block of a ViT with relative positions, with the bias that all blocks may share."""

    def __call__(self, network: Any, x: Tensor) -> Tensor:
        bias = None if network.shared_rel_pos is None else network.shared_rel_pos.get_bias()
        found: Tensor = network.get_submodule(self.path)(x, shared_rel_pos=bias)
        return found


def beit(network: Any) -> Iterator[Step]:
    """BEiT, BEiT v2: a class token, absolute positions if any, and blocks with relative ones."""
    return _transformer(network, _class_token_and_positions, ("pos_drop",), SharedBias)


def relative_positions(network: Any) -> Iterator[Step]:
    """ViTs with relative positions in place of absolute ones."""
    return _transformer(network, _class_token, (), SharedPositions)


def _class_attention(network: Any, x: Tensor) -> Tensor:
    tokens: Tensor = network.forward_cls(x) if hasattr(network, "forward_cls") else x
    return tokens


def cait(network: Any) -> Iterator[Step]:
    """CaiT: blocks on patches alone, then a class token that attends to them."""
    yield _module("patch_embed")
    yield Step("", _add_positions)
    yield from _there(network, "pos_drop")
    yield from _items(network, "blocks", Module)
    yield Step("", _class_attention)
    yield from _there(network, "norm")


def _to_tokens(network: Any, x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def pyramid_of_tokens(network: Any) -> Iterator[Step]:
    """Hiera, SAM's HieraDet: patches with positions, unrolled where the network does so, then blocks."""
    yield _module("patch_embed")
    yield Step("", _tokens)
    yield from _there(network, "unroll")
    yield from _items(network, "blocks", Module)


def with_positions(network: Any) -> Iterator[Step]:
    """Positions added behind the first child, else all children in a row."""
    steps = list(in_a_row(network))
    yield steps[0]
    yield Step("", _add_positions)
    yield from steps[1:]


def tokens_behind_stem(network: Any) -> Iterator[Step]:
    """LeViT and its kind: maps from the stem, tokens from there on."""
    steps = list(in_a_row(network))
    yield steps[0]
    yield Step("", _to_tokens)
    yield from steps[1:]


# Tried in this order: the first that gives the network's own answer is taken.
FORMS: tuple[Callable[[Any], Iterator[Step]], ...] = (
    in_a_row, vision_transformer, eva, beit, relative_positions, cait, pyramid_of_tokens, with_positions,
    tokens_behind_stem,
)  # fmt: skip


def _groups(network: Any) -> dict[str, int]:
    """Parameter -> the number of its group by timm's `group_matcher`; empty where the network has none."""
    try:
        from timm.models import group_parameters

        groups = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    except (AttributeError, NotImplementedError, TypeError, AssertionError, KeyError):
        return {}
    return {name: int(number) for name, number in groups.items()}


def _under(paths: Sequence[str], name: str) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths if path)


def into_blocks(network: Any, steps: Sequence[Step]) -> dict[str, tuple[Step, ...]]:
    """Steps by the block that they belong to, named after the module that opens it.

    What comes before the first block, by timm's `group_matcher`, is the `stem`; what learns nothing, and what comes
    after the last block (a last norm or convolution), joins the block before it.
    """
    groups = _groups(network)
    parameters = [name for name, _ in network.named_parameters()]

    def numbers(step: Step) -> set[int | str | None]:
        mine = [name for name in parameters if _under([step.path], name)]
        return {groups.get(name, step.path) for name in mine}

    first = min(groups.values(), default=None)
    in_lists = [place for place, step in enumerate(steps) if "." in step.path]
    blocks: dict[str, list[Step]] = {"stem": []}
    name = "stem"
    number: set[int | str | None] = {first}
    for place, step in enumerate(steps):
        mine = numbers(step)
        in_stem = name == "stem" and (mine <= {first} or (not groups and not blocks["stem"]))
        trailing = bool(in_lists) and place > in_lists[-1]
        joins = not mine or in_stem or trailing or (mine == number and "." not in step.path)
        if in_lists and place < in_lists[0]:
            joins = True
        if "." in step.path and mine and not (name == "stem" and mine <= {first} and not in_lists):
            joins = False
        if not joins:
            name, number = step.path.replace(".", "_"), mine
        blocks.setdefault(name, []).append(step)
    found = [(name, tuple(parts)) for name, parts in blocks.items() if parts]
    return dict([("stem", found[0][1]), *found[1:]])  # where nothing comes before the blocks, the first is the stem


def _owned(
    network: nn.Module, blocks: Mapping[str, Sequence[Step]], classifier: str, behind: AbstractSet[nn.Module]
) -> dict[str, tuple[str, ...]]:
    """Every parameter of the network in exactly one block, `features` being what stands before the last layer.

    Tokens and positions are the stem's. Modules are taken as a whole: BatchNorm's averages, and what tells a norm
    from another parameter, come along.

    Args:
        behind: the modules that run between the last block and the last layer.
    """
    owned = {name: [step.path for step in steps if step.path] for name, steps in blocks.items()}
    last, groups = list(blocks)[-1], _groups(network)
    first = min(groups.values(), default=None)
    owned[FEATURES] = []
    for name, _ in network.named_parameters():
        if _under([classifier], name) or any(_under(paths, name) for paths in owned.values()):
            continue
        top = name.partition(".")[0]
        early = groups.get(name) == first if groups else "." not in name
        whole = _whole(network, name, classifier)
        found: Any = operator.attrgetter(whole)(network)
        inner = set(found.modules()) if isinstance(found, nn.Module) else set()
        features = _under([top], classifier) or not inner.isdisjoint(behind)
        owned[FEATURES if features else "stem" if early else last].append(whole)
    return {name: tuple(dict.fromkeys(paths)) for name, paths in owned.items()} | {"head": (classifier,)}


def _whole(network: nn.Module, name: str, classifier: str) -> str:
    """The largest module around a parameter that does not hold the classifier; else the parameter itself."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        path = ".".join(parts[:length])
        if not _under([path], classifier):
            return path
    return name


def _layout(values: Tensor, known: str) -> str:
    if values.ndim != 4:
        return FLAT if values.ndim == 2 else TOKENS
    _, a, b, c = values.shape
    if a == b != c:
        return NHWC
    return NCHW if b == c != a else known


def _trials(network: nn.Module) -> list[list[Step]]:
    found = []
    for form in FORMS:
        try:
            found.append(list(form(network)))
        except (AttributeError, ValueError):
            continue
    return found


@torch.no_grad()
def plan_of(network: Any, size: int, arch: str) -> Plan:
    """The parts of a network, which in a row are the network, to the bit.

    Args:
        network: with random weights, which are changed, so that no layer that begins at zero hides another.
        size: height and width of its images in pixels.

    Raises:
        UserError: its last layer is no linear one on (B, D), or no form of `FORMS` gives its answer.
    """
    last = network.get_classifier() if hasattr(network, "get_classifier") else None
    path = next((name for name, module in network.named_modules() if module is last), "")
    if not isinstance(last, nn.Linear) or not path:
        what = "several last layers" if isinstance(last, tuple) else type(last).__name__
        raise UserError(
            f"model.arch={arch} ends in {what}, not in one linear layer; take another network"
        )
    draws = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=draws) * 0.02)
    network.eval()
    images = torch.randn(2, 3, size, size, generator=draws)
    try:
        answer = network(images)
    except REFUSALS as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"model.arch={arch} does not take images of model.input_size={size}: {reason}") from None
    for steps in _trials(network):
        after = [place for place, step in enumerate(steps) if _under([step.path], path)]
        cut = after[0] if after else len(steps)
        kept = steps[:cut]
        for length in range(len(kept), 0, -1):
            if _same(network, kept[:length], path, images, answer):
                blocks = into_blocks(network, kept[:length])
                return _checked(network, blocks, path, images)
            if "." in kept[length - 1].path:  # no more than the children behind the last block may be the head's
                break
    raise UserError(
        f"model.arch={arch} does more than run its parts in a row, in a way that is not known here; take another "
        "network, or register it as a backbone of your own (docs/extending.md)"
    )


def _same(network: Any, steps: Sequence[Step], classifier: str, images: Tensor, answer: Tensor) -> bool:
    x = images
    try:
        for step in steps:
            x = step.run(network, x)
            if not isinstance(x, Tensor):
                return False
        features = network.forward_head(x, pre_logits=True)
        logits = network.get_submodule(classifier)(features)
    except Exception:  # whatever a network says to an input that is not its own
        return False
    return features.ndim == 2 and torch.equal(logits, answer) and bool(answer.isfinite().all())


def _checked(network: Any, blocks: Mapping[str, tuple[Step, ...]], classifier: str, images: Tensor) -> Plan:
    layouts: dict[str, str] = {}
    in_place, x, layout = set(), images, NCHW
    for name, steps in blocks.items():
        taken = outputs = x.clone()
        for step in steps:
            outputs = step.run(network, outputs)
        if not torch.equal(taken, x):
            in_place.add(name)
        x = outputs.clone()
        layouts[name] = layout = _layout(x, layout)
    if hasattr(network, "unroll"):
        layouts = dict.fromkeys(layouts, UNORDERED)
    taken, behind = x.clone(), set[nn.Module]()
    handles = [module.register_forward_hook(lambda module, *_: behind.add(module)) for module in network.modules()]
    network.forward_head(taken, pre_logits=True)
    for handle in handles:
        handle.remove()
    if not torch.equal(taken, x):
        in_place.add(FEATURES)
    return Plan(
        blocks, _owned(network, blocks, classifier, behind), classifier, layouts, frozenset(in_place),
        int(getattr(network, "num_prefix_tokens", 0) or 0),
    )  # fmt: skip
