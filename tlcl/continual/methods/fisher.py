"""The diagonal of the Fisher information from per-sample gradients, layer by layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

CHUNK = 32  # images whose gradients are held at once


def _patches(conv: nn.Conv2d, taken: Tensor, output: Tensor) -> Tensor:
    """What each output place of a convolution sees: (N, C * kernel, places)."""
    if conv.padding == (0, 0):
        # timm's "same" convolutions pad within their forward, more on the right when it is odd.
        sizes = zip(taken.shape[2:], output.shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True)
        lacking = [max(0, (out - 1) * step + (size - 1) * gap + 1 - have) for have, out, size, step, gap in sizes]
        sides = [side for need in reversed(lacking) for side in (need // 2, need - need // 2)]
        taken = nn.functional.pad(taken, sides)
    padding = conv.padding
    assert not isinstance(padding, str)
    return nn.functional.unfold(taken, conv.kernel_size, conv.dilation, padding, conv.stride)


def squared_gradients(module: nn.Module, taken: Tensor, gradient: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """sum_n w_n (d s_n / d theta)^2 for the parameters of one layer, each sample's gradient squared by itself.

    Args:
        module: any layer; convolutions and linear layers are treated without a gradient a sample in memory where
            they allow it, others (normalisation has few parameters) sample by sample.
        taken: the layer's input (N, ...).
        gradient: d s_n / d output (N, ...), where s_n depends on sample n alone.
        weights: w (N,).
    """
    match module:
        case nn.Conv2d():
            groups = module.groups
            a = _patches(module, taken, gradient).unflatten(1, (groups, -1))  # N, G, C/G * kernel, L
            g = gradient.flatten(2).unflatten(1, (groups, -1))  # N, G, O/G, L
            if g.shape[-1] == 1:  # an outer product: its square is the product of the squares
                squares = torch.einsum("n,ngo,ngk->gok", weights, g[..., 0].square(), a[..., 0].square())
            else:
                squares = torch.einsum("n,ngok->gok", weights, (g @ a.transpose(2, 3)).square())
            found = {"weight": squares.reshape(module.weight.shape)}
            summed = gradient.sum((2, 3))
        case nn.Linear():
            found = {"weight": (weights[:, None] * gradient.square()).T @ taken.square()}
            summed = gradient
        case _:
            return _squared_by_sample(module, taken, gradient, weights)
    if module.bias is not None:
        found["bias"] = weights @ summed.square()
    return found


def _squared_by_sample(module: nn.Module, taken: Tensor, gradient: Tensor, weights: Tensor) -> dict[str, Tensor]:
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def one(example: Tensor, output_gradient: Tensor) -> dict[str, Tensor]:
        _, pull_back = vjp(  # type: ignore[misc]
            lambda values: functional_call(module, values, (example[None],))[0], parameters
        )
        found: dict[str, Tensor] = pull_back(output_gradient)[0]
        return found

    return {
        name: torch.einsum("n,n...->...", weights, each.square())
        for name, each in vmap(one)(taken, gradient).items()
    }


@contextmanager
def recorded_layers(net: nn.Module) -> Iterator[list[tuple[str, nn.Module, Tensor, Tensor]]]:
    """While open, a forward pass of `net` lists (name, layer, input, output) of each layer that is trained."""
    record: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    handles = []
    for name, module in net.named_modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):

            def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> Tensor:
                record.append((name, module, inputs[0].detach(), output))
                return output.clone()  # what follows may change it in place, as torchvision's ReLUs do

            handles.append(module.register_forward_hook(keep))
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def fisher_diagonal(net: nn.Module, inputs: Tensor, rivals: Tensor) -> list[Tensor]:
    """The diagonal of the Fisher information, exactly: F_k = mean_x sum_y p(y|x) (d log p(y|x) / d theta_k)^2.

    Each image's gradients are squared by themselves, before any mean (the square of a batch's mean gradient is
    smaller by up to the batch size). y runs over the network's own predictions, as in Martens 2014, "New insights
    and perspectives on the natural gradient method"; taking the labels instead gives the "empirical" Fisher.

    Args:
        net: in eval mode, so that images do not depend on each other.
        inputs: (N, ...), as `net` takes them.
        rivals: bool (N, K), the outputs that the softmax runs over.

    Returns:
        One tensor a parameter, in the order of `net.parameters()`; zero for parameters that are not trained.
    """
    total = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    for examples, rival in zip(inputs.split(CHUNK), rivals.split(CHUNK), strict=True):
        with torch.enable_grad(), recorded_layers(net) as layers:
            log_p = net(examples).float().masked_fill(~rival, -torch.inf).log_softmax(1)
        for output in rival.any(0).nonzero().squeeze(1).tolist():
            possible = rival[:, output]
            with torch.enable_grad():
                score = log_p[possible, output].sum()
            gradients = torch.autograd.grad(score, [layer[-1] for layer in layers], retain_graph=True)
            weights = torch.where(possible, log_p[:, output].detach().exp(), 0.0)
            with torch.no_grad():
                for (name, module, taken, _), gradient in zip(layers, gradients, strict=True):
                    for part, squares in squared_gradients(module, taken, gradient, weights).items():
                        total[f"{name}.{part}"] += squares / len(inputs)
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    return [value if name in trained else torch.zeros_like(value) for name, value in total.items()]
