"""Grad-CAM: where in an image a network finds a class."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.continual.learner import MethodScores
from tlcl.errors import UserError
from tlcl.models.blocks import BESIDE, FEATURES, Blocks, beside, places_of
from tlcl.models.inference import whole_batches
from tlcl.models.tail import BesideAfter, SplitNetwork, Tail

BATCH = 64  # images whose gradients are held at once
FINE = 3  # places a side from which on a map says something


def as_they_are(outputs: Tensor) -> Tensor:
    """Outputs that are maps (B, C, H, W) already."""
    return outputs


def grad_cam(
    activations: Tensor,
    scores: Callable[[Tensor], Tensor],
    classes: Tensor,
    maps: Callable[[Tensor], Tensor | None] = as_they_are,
) -> Tensor:
    """Class-discriminative localisation maps (Selvaraju et al. 2017, "Grad-CAM", eq. 1 and 2).

    alpha_k = mean over the places of dy / dA_k, for the score y of the class before the softmax and channel A_k;
    the map is ReLU(sum_k alpha_k A_k). Behind global average pooling and a linear layer with weights w it is
    CAM's, ReLU(sum_k w_k A_k), divided by the number of places.

    Args:
        activations: of a block, (B, C, H, W), or whatever `maps` takes.
        scores: the rest of the network, activations -> (B, K), an image's scores from its own activations alone.
        classes: int64 (B,), the class of each image that the map is of.
        maps: activations, or their gradients, as (B, C, H, W): of tokens those that are places of the image.

    Returns:
        (B, H, W), at least 0; all 0 where nothing speaks for the class.
    """
    with torch.enable_grad():
        leaf = activations.detach().clone().requires_grad_()  # a clone: what inference mode made has no gradients
        chosen = scores(leaf).gather(1, classes[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
    slopes, values = maps(gradient), maps(activations)
    assert slopes is not None
    assert values is not None
    return torch.einsum("bk,bkhw->bhw", slopes.mean((2, 3)), values).relu()


def network_of(classifier: Blocks | SplitNetwork) -> Blocks:
    """The blocks of what `load_run` gives."""
    return classifier.net if isinstance(classifier, SplitNetwork) else classifier


def scores_after(
    classifier: Blocks | SplitNetwork, block: str, *, channels_last: bool
) -> Callable[[Tensor], Tensor]:
    """What makes a finished run's scores (B, K) of the outputs of `block`.

    A continual method's answer is its own rule; all of them are differentiable.
    """
    net = network_of(classifier)
    if not isinstance(classifier, SplitNetwork):
        return partial(net, start=block)
    rest = classifier.rest
    if isinstance(rest, MethodScores):
        if classifier.place is not None and BESIDE in classifier.place:
            widths = {name: _width(net, name) for name in places_of(classifier.place)}
            return MethodScores(BesideAfter(net, block, classifier.place, widths), rest.method, rest.temperature)
        return MethodScores(Tail(net, block, ndim=4, channels_last=channels_last), rest.method, rest.temperature)
    return lambda outputs: rest(net(outputs, start=block, stop=FEATURES))


def _width(net: Blocks, place: str) -> int:
    images = torch.zeros(1, 3, net.inputs.size, net.inputs.size, dtype=torch.uint8, device=net.inputs.mean.device)
    with torch.no_grad():
        return int(net(images, stop=beside([place])).shape[1])


def last_asked(classifier: Blocks | SplitNetwork) -> str | None:
    """The last place whose outputs an answer depends on, where that is not the network's end."""
    place = classifier.place if isinstance(classifier, SplitNetwork) else None
    return places_of(place)[-1] if place is not None and BESIDE in place else None


def block_of_maps(net: Blocks, image: Tensor, wanted: str | None, last: str | None = None) -> str:
    """The block whose outputs the maps are of; without a wish the last whose maps are not too coarse.

    Args:
        image: uint8 (1, C, H, W), like those that will be explained.
        last: see `last_asked`; what comes after it has no say.

    Raises:
        UserError: no such block, or its outputs have one place alone.
    """
    net.eval()
    sides: dict[str, int] = {}
    until = len(net.places) if last is None else net.places.index(last)
    for name in [name for name in net.names[:-1] if net.places.index(name) <= until]:
        with torch.inference_mode():
            outputs = net(image.to(net.inputs.mean.device), stop=name)
            found = net.maps(name, outputs)
        sides[name] = 1 if found is None or not _answers(net, name, outputs) else min(found.shape[2:])
    mapped = [name for name, side in sides.items() if side > 1]
    if wanted is not None and wanted not in sides:
        raise UserError(f"--block={wanted} is not one of {', '.join(sides)}")
    if not mapped or (wanted is not None and wanted not in mapped):
        where = f"--block={wanted}" if wanted else "every block"
        others = f"choose one of {', '.join(mapped)}, or " if mapped else ""
        raise UserError(
            f"{where} has one place for a whole image of model.input_size={net.inputs.size}, which makes no map; "
            f"{others}train with a larger model.input_size"
        )
    fine = [name for name in mapped if sides[name] >= FINE]
    return wanted or (fine or mapped)[-1]


def _answers(net: Blocks, block: str, outputs: Tensor) -> bool:
    """Whether the logits depend on the block's maps: those of a ViT may depend on its last class token alone."""
    with torch.enable_grad():
        leaf = outputs.detach().clone().requires_grad_()
        logits = net(leaf, start=block)
        weights = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        (slopes,) = torch.autograd.grad((logits * weights).sum(), leaf)
    found = net.maps(block, slopes)
    return found is not None and bool((found != 0).any())


def class_maps(
    classifier: Blocks | SplitNetwork,
    images: Tensor,
    block: str,
    classes: Tensor,
    *,
    channels_last: bool,
    progress: bool,
) -> Tensor:
    """Grad-CAM of images for several classes each, in float32: (N, M, H, W) on the CPU.

    Args:
        images: uint8 (N, C, H, W).
        classes: int64 (N, M).
        progress: whether to show a bar.
    """
    net = network_of(classifier.eval())
    scores, device = scores_after(classifier, block, channels_last=channels_last), net.inputs.mean.device
    of_block, maps = partial(net.maps, block), []
    slices = whole_batches(len(images), BATCH)
    for part in tqdm(slices, desc="maps", unit=" batches", disable=not progress):
        with torch.inference_mode():
            activations = net(images[part].to(device), stop=block)
        chosen = classes[part].to(device)
        maps.append(torch.stack([grad_cam(activations, scores, column, of_block) for column in chosen.T], 1).cpu())
    return torch.cat(maps)
