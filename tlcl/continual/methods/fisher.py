"""The diagonal of the Fisher information from per-sample gradients, layer by layer where a layer allows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from tlcl.continual.methods.layer_calls import own, survey

CHUNK = 32  # images whose gradients are held at once


class Call(NamedTuple):
    """One call of a layer: its input (N, ...) without a graph, and its output (N, ...)."""

    name: str
    layer: nn.Module
    taken: Tensor
    output: Tensor


def _convolution(conv: nn.Conv2d, output: Tensor) -> Any:
    """The convolution by the layer's own weight and bias as autograd recorded it, if that is what `output` is.

    What it saved of the input is padded already where the layer does that in its forward, as timm's "same"
    convolutions do; and a layer that makes another weight of its own, as those that standardise it, shows.
    """
    node: Any = output.grad_fn
    if node is None or node.name() != "ConvolutionBackward0":
        return None
    weight, bias = (getattr(source, "variable", None) for source, _ in node.next_functions[1:])
    own_bias = conv.bias if conv.bias is not None and conv.bias.requires_grad else None
    return node if weight is conv.weight and bias is own_bias else None


def squared_gradients(call: Call, gradient: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """sum_n w_n (d s_n / d theta)^2 for the parameters of one layer, each sample's gradient squared by itself.

    Convolutions and linear layers are treated without autograd, others (normalisation has few parameters) sample by
    sample. A layer that is applied at many places has the sum over them as its gradient, before it is squared.

    Args:
        gradient: d s_n / d output (N, ...), where s_n depends on sample n alone.
        weights: w (N,).
    """
    _, module, taken, output = call
    if isinstance(module, nn.Conv2d) and (convolution := _convolution(module, output)) is not None:
        groups = module.groups
        steps = convolution._saved_dilation, convolution._saved_padding, convolution._saved_stride
        patches = nn.functional.unfold(convolution._saved_input.detach(), module.kernel_size, *steps)
        a = patches.unflatten(1, (groups, -1))  # N, G, C/G * kernel, L
        g = gradient.flatten(2).unflatten(1, (groups, -1))  # N, G, O/G, L
        if g.shape[-1] == 1:  # an outer product: its square is the product of the squares
            squares = torch.einsum("n,ngo,ngk->gok", weights, g[..., 0].square(), a[..., 0].square())
        else:
            squares = torch.einsum("n,ngok->gok", weights, (g @ a.transpose(2, 3)).square())
        found = {"weight": squares.reshape(module.weight.shape)}
        summed = gradient.sum((2, 3))
    elif type(module).forward is nn.Linear.forward and "weight" in module._parameters:
        if taken.ndim == 2:
            found = {"weight": (weights[:, None] * gradient.square()).T @ taken.square()}
            summed = gradient
        else:
            a, g = taken.flatten(1, -2), gradient.flatten(1, -2)  # N, places, inputs; N, places, outputs
            found = {"weight": torch.einsum("n,noi->oi", weights, (g.transpose(1, 2) @ a).square())}
            summed = g.sum(1)
    else:
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
def recorded_calls(net: nn.Module, layers: list[str]) -> Iterator[list[Call]]:
    """While open, a forward pass of `net` lists the calls of these layers."""
    record: list[Call] = []
    handles = []
    for name in layers:

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> Tensor:
            record.append(Call(name, module, inputs[0].detach(), output))
            return output.clone()  # what follows may change it in place, as torchvision's ReLUs do

        handles.append(net.get_submodule(name).register_forward_hook(keep))
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _log_probabilities(net: nn.Module, examples: Tensor, rival: Tensor) -> Tensor:
    logits: Tensor = net(examples)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.masked_fill(~rival, -torch.inf).log_softmax(1)


def fisher_diagonal(net: nn.Module, inputs: Tensor, rivals: Tensor) -> list[Tensor]:
    """The diagonal of the Fisher information, exactly: F_k = mean_x sum_y p(y|x) (d log p(y|x) / d theta_k)^2.

    Each image's gradients are squared by themselves, before any mean (the square of a batch's mean gradient is
    smaller by up to the batch size). y runs over the network's own predictions, as in Martens 2014, "New insights
    and perspectives on the natural gradient method"; taking the labels instead gives the "empirical" Fisher.

    Whatever the network: parameters whose gradients of single samples no layer shows (tokens and position
    embeddings, tables that attention reads, layers that see windows of images, weights used twice) take one
    backward pass for each image and class.

    Args:
        net: in eval mode, so that images do not depend on each other.
        inputs: (N, ...), as `net` takes them.
        rivals: bool (N, K), the outputs that the softmax runs over.

    Returns:
        One tensor a parameter, in the order of `net.parameters()`; zero for parameters that are not trained.
    """
    parameters = dict(net.named_parameters())
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    trained = survey(net, inputs)
    for examples, rival in zip(inputs.split(CHUNK), rivals.split(CHUNK), strict=True):
        if trained.layers:
            for name, squares in _of_layers(net, trained.layers, examples, rival):
                total[name] += squares / len(inputs)
        for example, its_rivals in zip(examples.split(1), rival.split(1), strict=True) if trained.others else ():
            for name, squares in _of_one(net, trained.others, example, its_rivals):
                total[name] += squares / len(inputs)
    return [value if parameters[name].requires_grad else torch.zeros_like(value) for name, value in total.items()]


def _of_layers(
    net: nn.Module, layers: list[str], examples: Tensor, rival: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """sum_n p(y|x_n) (d log p(y|x_n) / d theta)^2 of the parameters of these layers, for one y after another."""
    with torch.enable_grad(), recorded_calls(net, layers) as calls:
        log_p = _log_probabilities(net, examples, rival)
    for output in rival.any(0).nonzero().squeeze(1).tolist():
        possible = rival[:, output]
        with torch.enable_grad():
            score = log_p[possible, output].sum()
        gradients = torch.autograd.grad(
            score, [call.output for call in calls], retain_graph=True, allow_unused=True
        )
        weights = torch.where(possible, log_p[:, output].detach().exp(), 0.0)
        for call, gradient in zip(calls, gradients, strict=True):
            if gradient is None:
                continue
            with torch.no_grad():
                found = squared_gradients(call, gradient, weights)
            for part in own(call.layer):
                yield f"{call.name}.{part}".removeprefix("."), found[part]


def _of_one(net: nn.Module, names: list[str], example: Tensor, rival: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same of a single sample and any parameters.

    Args:
        example: (1, ...).
        rival: bool (1, K).
    """
    with torch.enable_grad():
        log_p = _log_probabilities(net, example, rival)[0]
        possible = rival[0].nonzero().squeeze(1).tolist()
        scores = [log_p[output] for output in possible]
    parameters = [net.get_parameter(name) for name in names]
    for score in scores:
        gradients = torch.autograd.grad(score, parameters, retain_graph=True, allow_unused=True)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                yield name, score.detach().exp() * gradient.square()
