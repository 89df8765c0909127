"""Parameter groups: parameters without weight decay, and each layer's share of the learning rate."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Annotated, Any

from torch import nn
from torch.optim import Optimizer

from mlpipe.arch import adapt
from mlpipe.errors import ConfigError, problem

Groups = list[dict[str, Any]]
# Decay rates of a running mean and of a second one; from 1 on nothing would ever be forgotten.
Betas = tuple[Annotated[float, ">= 0", "< 1"], Annotated[float, ">= 0", "< 1"]]


def parameter_groups(network: nn.Module, layer_decay: float | None = None) -> Groups:
    """Return the trainable parameters in groups: matrices and kernels, then those of `undecayed` without weight decay.

    With a layer decay there are two groups for each layer, from the heads towards the pixels, with `lr_scale`, the layer's
    share of the rate (Clark et al. 2020; Bao et al. 2022): 1 for the heads, and for every layer below `layer_decay` times
    that of the next layer. `scale_rates` applies it.

    Args:
        network: The network; with a layer decay, one with a timm network as its backbone.
        layer_decay: Each layer's rate as a share of the next layer's; None: one rate for all.

    Raises:
        ConfigError: When timm does not know the layers of the network.
    """
    if layer_decay is not None:
        return _layered_groups(network, layer_decay)
    exempt = undecayed(network)
    learning = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in learning if name not in exempt]
    plain = [parameter for name, parameter in learning if name in exempt]
    groups: Groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply each group's rate by its `lr_scale`, once, before a schedule is created."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 1.0)


def looks_ahead(nesterov: bool, momentum: float, dampening: float) -> bool:
    """Return whether a step uses Nesterov's momentum (Sutskever et al. 2013), which is defined without dampening only.

    Args:
        nesterov: Whether it was asked for; without momentum it makes no difference.
        momentum: Share of the last step that is kept.
        dampening: Share of the gradient that does not enter the momentum.

    Raises:
        ConfigError: When both are asked for.
    """
    if nesterov and momentum > 0 and dampening > 0:
        raise ConfigError(
            problem("optimizer.dampening", "cannot go with nesterov", got=dampening, fix="add optimizer.nesterov=false")
        )
    return nesterov and momentum > 0


def decaying(groups: Groups, decay_all: bool) -> Groups:
    """Return the groups, without the exceptions from weight decay if `decay_all` is set."""
    if not decay_all:
        return groups
    return [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]


def _layered_groups(network: nn.Module, layer_decay: float) -> Groups:
    layers = adapt.layer_numbers(network, coarse=False)
    if layers is None:
        wrong = "needs a timm network whose layers are known"
        raise ConfigError(problem("optimizer.layer_decay", wrong, fix="leave it out, or use another arch"))
    top, exempt = max(layers.values()), undecayed(network)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            depth, is_plain = top - layers[name], name in exempt
            start = {"params": [], "lr_scale": layer_decay**depth} | ({"weight_decay": 0.0} if is_plain else {})
            groups.setdefault((depth, is_plain), start)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def undecayed(network: nn.Module) -> set[str]:
    """Return the names of the parameters without weight decay, chosen as in timm (`param_groups_weight_decay`).

    They are norms, biases, and what a network or a part of it lists in `no_weight_decay()`, as timm's networks do:
    embeddings of classes, tokens and positions, tables of relative positions, temperatures.

    Args:
        network: The network.
    """
    names = [name for name, _ in network.named_parameters()]
    exempt_names = {
        name for name, parameter in network.named_parameters() if parameter.ndim <= 1 or name.endswith(".bias")
    }
    for prefix, part in _listing(network, ""):
        for pattern in part.no_weight_decay():
            # Few names are patterns, and a network may list thousands of names.
            is_pattern = any(sign in pattern for sign in "*?[")
            exempt_names |= set(fnmatch.filter(names, f"{prefix}{pattern}")) if is_pattern else {f"{prefix}{pattern}"}
    return exempt_names & set(names)


def _listing(part: nn.Module, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the outermost parts that have a `no_weight_decay` list, with the prefixes of their parameters' names."""
    if callable(getattr(part, "no_weight_decay", None)):
        yield prefix, part
        return
    for name, child in part.named_children():
        yield from _listing(child, f"{prefix}{name}.")
