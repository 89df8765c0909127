"""timm's knowledge of a network's body: tensor names, its filter of stored weights, its first convolutions."""

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
# What wrappers of a body call it.
_INNER = ("model", "module")
_WRAPPERS = (FeatureListNet, FeatureDictNet, FeatureHookNet, FeatureGetterNet)
_FLATTENED = re.compile(r"^([A-Za-z]\w*?)\.(\d+)\.")


@dataclass(frozen=True)
class Body:
    """The part of a network that weights of other programs may be of.

    Attributes:
        names: The names of its tensors as a file of it alone has them, and the names in the whole network.
        module: What these names are of. Of features of several resolutions it is timm's whole network without numbers,
            since the wrapper renames its parts and leaves out the last ones.
        filter: What timm does to stored weights before they are loaded; None: nothing.
        headed: The names that timm's network has together with its head.
        first_convolutions: The names of the layers that see the channels of images.
        sides: Height and width of the images that it is made for; equal where they are not known.
        alike: Other names of the same tensors.
    """

    names: Mapping[str, str]
    module: nn.Module
    filter: Filter | None = None
    headed: frozenset[str] = frozenset()
    first_convolutions: tuple[str, ...] = ()
    sides: tuple[int, int] = (1, 1)
    alike: Mapping[str, str] = field(default_factory=dict)


def of(network: nn.Module) -> Body:
    """The body of a network: its backbone, or all of it where it has none.

    Args:
        network: A network; where its backbone, or what that wraps, is timm's, what timm knows of it is known.
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
    """The parameters that timm says should not decay, of a backbone that wraps timm's network and does not say itself.

    Args:
        network: The network.

    Returns:
        Names in the network.
    """
    body = of(network)
    listed: set[str] = getattr(body.module, "no_weight_decay", set)()
    return {body.names[name] for name in listed if name in body.names}


def native_shapes(body: Body) -> dict[str, torch.Size]:
    """The shapes of the tensors of timm's own weights, for the channels and images that they were trained on."""
    settings = getattr(body.module, "pretrained_cfg", None) or {}
    _, whole = _filter_and_network(settings.get("architecture", ""))
    return {} if whole is None else {name: tensor.shape for name, tensor in whole.state_dict().items()}


def _innermost(network: nn.Module) -> tuple[str, nn.Module]:
    """The module that files of weights are of, and what its names begin with in the network."""
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
    """Name of a tensor in a wrapper of timm that gives features; None where the wrapper leaves it out."""
    for candidate in (name, f"model.{name}", flattened(name)):
        if candidate in state:
            return candidate
    return None


def flattened(name: str) -> str:
    """The name of a tensor where timm puts the parts of its first containers side by side: `stages.0.` is `stages_0.`."""
    return _FLATTENED.sub(r"\1_\2.", name)


@functools.lru_cache(maxsize=8)
def _filter_and_network(
    architecture: str, channels: int | None = None, size: tuple[int, int] | None = None
) -> tuple[Filter | None, nn.Module | None]:
    """A network of timm with its head, without numbers, and what timm gives stored weights to before it loads them.

    timm hands that filter to its own loader and keeps it nowhere: the loader is given a file that holds no weights, and
    what it was called with is taken from where it stopped.
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
    """Without what timm logs of files."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


Filling = Literal["timm", "zero", "copy_last"]


def widen(backbone: Any, three: Any, how: Filling) -> None:
    """Give the first layers of a network the weights of one for three channels; further channels are filled.

    Args:
        backbone: A network of timm for more than three channels, changed in place.
        three: The same network for three channels, pretrained.
        how: `zero`, or `copy_last`: the weights of the third channel.
    """
    names = three.pretrained_cfg["first_conv"]
    for name in (names,) if isinstance(names, str) else names:
        source, target = three.get_submodule(name).weight, backbone.get_submodule(name).weight
        with torch.no_grad():
            target.zero_()
            target[:, : source.shape[1]] = source
            if how == "copy_last":
                target[:, source.shape[1] :] = source[:, -1:]
