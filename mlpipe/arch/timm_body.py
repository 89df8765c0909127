"""What timm knows about a network's body: tensor names, checkpoint filter and first convolutions."""

from __future__ import annotations

import functools
import logging
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from timm.models._features import FeatureDictNet, FeatureGetterNet, FeatureHookNet, FeatureListNet
from timm.models._input import get_model_traits
from torch import Tensor, nn

State = dict[str, Tensor]
Filter = Callable[..., Mapping[str, Tensor]]
_BACKBONE = "backbone"
# Attribute names of the body in its wrappers.
_INNER = ("model", "module")
_WRAPPERS = (FeatureListNet, FeatureDictNet, FeatureHookNet, FeatureGetterNet)
_FLATTENED = re.compile(r"^([A-Za-z]\w*?)\.(\d+)\.")


@dataclass(frozen=True)
class Body:
    """The part of a network that weights of other programs may fit.

    Attributes:
        names: Names of the tensors in the whole network by their names in a file of the body alone.
        module: The module that has the latter names. For multi-resolution features it is timm's whole network on the meta
            device, because the feature wrapper renames parts and leaves out the last ones.
        filter: timm's checkpoint filter; None: no filter.
        headed: Tensor names of timm's network including its head.
        first_convolutions: Names of the layers that take the channels of images.
        sides: Height and width of the images that it is built for; equal if not known.
        alike: Names in `names` by alternative names of the same tensors.
    """

    names: Mapping[str, str]
    module: nn.Module
    filter: Filter | None = None
    headed: frozenset[str] = frozenset()
    first_convolutions: tuple[str, ...] = ()
    sides: tuple[int, int] = (1, 1)
    alike: Mapping[str, str] = field(default_factory=dict)


def of(network: nn.Module) -> Body:
    """Return the body of a network: its backbone, or the whole network if it has none.

    Args:
        network: A network; if its backbone is or wraps a timm network, the result includes what timm knows about it.
    """
    prefix, module = _innermost(network)
    state = list(module.state_dict())
    settings = getattr(module, "pretrained_cfg", None)
    if not isinstance(settings, dict) or not settings.get("architecture"):
        return Body({name: prefix + name for name in state}, module)
    traits = get_model_traits(module)
    first = traits.get("first_conv", settings.get("first_conv")) or ()
    first = (first,) if isinstance(first, str) else tuple(first)
    sides = tuple(traits.get("img_size") or settings.get("input_size", (3, 1, 1))[-2:])
    if not isinstance(module, _WRAPPERS):
        chosen, whole = _filter_and_network(settings["architecture"])
        headed = frozenset() if whole is None else frozenset(whole.state_dict())
        return Body({name: prefix + name for name in state}, module, chosen, headed, first, sides)
    chosen, whole = _filter_and_network(settings["architecture"], traits.get("in_chans"), traits.get("img_size"))
    if whole is None:
        return Body({name: prefix + name for name in state}, module)
    renamed = {name: own for name in whole.state_dict() if (own := _wrapped_name(name, state))}
    names = {name: prefix + own for name, own in renamed.items()}
    alike = {own: name for name, own in renamed.items() if own != name}
    return Body(names, whole, chosen, frozenset(whole.state_dict()), first, sides, alike)


def undecayed(network: nn.Module) -> set[str]:
    """Return the parameters that timm exempts from weight decay, for a backbone that wraps a timm network.

    Args:
        network: The network.

    Returns:
        Parameter names in the network.
    """
    body = of(network)
    listed: set[str] = getattr(body.module, "no_weight_decay", set)()
    return {body.names[name] for name in listed if name in body.names}


def native_shapes(body: Body) -> dict[str, torch.Size]:
    """Return the shapes of timm's pretrained tensors, for the channels and image size that they were trained with."""
    settings = getattr(body.module, "pretrained_cfg", None) or {}
    _, whole = _filter_and_network(settings.get("architecture", ""))
    return {} if whole is None else {name: tensor.shape for name, tensor in whole.state_dict().items()}


def _innermost(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the prefix of the body's tensor names in the network, and the module inside all wrappers."""
    module = getattr(network, _BACKBONE, None)
    if not isinstance(module, nn.Module):
        return "", network
    prefix = f"{_BACKBONE}."
    while not hasattr(module, "pretrained_cfg"):
        filled = [name for name, child in module.named_children() if child.state_dict()]
        if len(filled) != 1 or filled[0] not in _INNER:
            break
        prefix, module = f"{prefix}{filled[0]}.", module.get_submodule(filled[0])
    return prefix, module


def _wrapped_name(name: str, state: list[str]) -> str | None:
    """Return the name of a tensor in timm's feature wrapper; None if the wrapper leaves it out."""
    for candidate in (name, f"model.{name}", flattened(name)):
        if candidate in state:
            return candidate
    return None


def flattened(name: str) -> str:
    """Return a tensor's name in timm's flattened feature networks: `stages.0.` becomes `stages_0.`."""
    return _FLATTENED.sub(r"\1_\2.", name)


@functools.lru_cache(maxsize=8)
def _filter_and_network(
    architecture: str, channels: int | None = None, size: tuple[int, int] | None = None
) -> tuple[Filter | None, nn.Module | None]:
    """Return timm's checkpoint filter for a network, and the network with its head on the meta device.

    timm only passes the filter to its loader and stores it nowhere. The loader is therefore given a file without weights,
    and the filter is read from the stack frame in which the loader failed.
    """
    options: dict[str, Any] = {"in_chans": channels, "img_size": size}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _silent():
            timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay={"file": __file__}, **options)
    except Exception as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_name == "load_pretrained":
                return frame.f_locals["filter_fn"], frame.f_locals["model"]
    return None, None


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress timm's log messages about files."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


Filling = Literal["timm", "zero", "copy_last"]


def first_layers(network: Any) -> tuple[str, ...]:
    """Return the names of the layers of a timm network that take the image."""
    names = network.pretrained_cfg["first_conv"]
    return (names,) if isinstance(names, str) else tuple(names)


def widen(backbone: Any, three: Any, how: Filling) -> None:
    """Copy the first layers' weights from a network for three channels and fill the further channels.

    Args:
        backbone: A timm network for more than three channels, changed in place.
        three: The same network for three channels, pretrained.
        how: `zero`, or `copy_last`: the weights of the third channel.
    """
    for name in first_layers(three):
        source, target = three.get_submodule(name).weight, backbone.get_submodule(name).weight
        with torch.no_grad():
            target.zero_()
            target[:, : source.shape[1]] = source
            if how == "copy_last":
                target[:, source.shape[1] :] = source[:, -1:]
