"""Your own function as the body of a network, followed by pooling, dropout and heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor, nn

from mlpipe.arch import adapt, initial_weights
from mlpipe.arch.classifier import Classifier, Head, Pixels, statistics
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.own_parts.own_code import Code, accepted_arguments, called

# The statistics that most ImageNet weights were trained with.
_STATISTICS = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}


class Body(nn.Module):
    """A module's features, pooled if they are maps, with dropout.

    Args:
        module: Maps images (n, channels, height, width) to features (n, features) or maps (n, features, height, width).
        pool: The pooling of maps.
        drop_rate: Dropout of the features.
        parts: The channels of each of several inputs, which the module gets as a list; empty: it gets one tensor.
        code: The hash of each file that the module comes from, for caches of its results.
    """

    def __init__(
        self,
        module: nn.Module,
        pool: str,
        drop_rate: float,
        parts: tuple[int, ...] = (),
        code: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.code = dict(code or {})
        self.module, self.dropout, self._parts = module, nn.Dropout(drop_rate), list(parts)
        self.pool = SelectAdaptivePool2d(pool_type=f"fast{pool}", flatten=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return features, shape (n, features)."""
        features: Tensor = self.module(list(torch.split(images, self._parts, 1)) if self._parts else images)
        if features.ndim == 4:
            features = self.pool(features)
        dropped: Tensor = self.dropout(features)
        return dropped


def own(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: str,
    arguments: dict[str, Any] | None = None,
    modules: str | None = None,
    imports: list[str] | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
    pretrained: bool = False,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    pool: Literal["avg", "max"] = "avg",
    drop_rate: Annotated[float, ">= 0", "< 1"] = 0.0,
    freeze: bool | Literal["backbone"] = False,
) -> Classifier:
    """The module returned by a function as the body of a network, with new heads.

    The function gets those of these arguments that it has parameters for: `input_shape` (height, width, channels),
    `in_chans`, `classes`, `include_top` (false), `pooling`, `weights` (`imagenet` when `pretrained`, else None), and
    `arguments`. Its module sees pixels as set in the section `augmentations`: `model` is ImageNet's mean and deviation. If
    items have several images, `input_shape` and `in_chans` are lists with one entry each, and the module gets a list.

    Args:
        heads: The head of each target; given by the program.
        pixels: Facts about the images; given by the program.
        name: The function, or a class of modules.
        arguments: Further arguments of the function.
        modules: Folder of Python files with the function.
        imports: Modules to import in addition.
        stand_ins: Packages whose imports are replaced by `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.
        pretrained: Whether the function is asked for pretrained weights.
        weights: A weights file for the whole network, or for the function's module.
        weights_strict: False loads whatever fits from that file, even if it is little.
        in_chans: Input channels of the network; None: those of the images.
        pool: The pooling of feature maps.
        drop_rate: Dropout before the head.
        freeze: True or `backbone`: train the heads only.

    Raises:
        ConfigError: When the function fails, or does not return a module with features.
        DataError: When a weights file does not fit, or the code is not trusted.
    """
    code = Code(modules, imports or (), stand_ins or (), trust or ())
    function = code.function("arch", name)
    channels, parts = in_chans or pixels.channels, pixels.parts
    if sum(parts) not in (0, channels):
        fix = "leave it out"
        raise ConfigError(problem("arch.in_chans", f"inputs have {sum(parts)} channels in all", got=in_chans, fix=fix))
    facts = {
        "input_shape": [(*pixels.sides, part) for part in parts] or (*pixels.sides, channels),
        "in_chans": list(parts) or channels,
        "classes": sum(head.size for head in heads.values()),
        "include_top": False,
        "pooling": pool,
        "weights": "imagenet" if pretrained else None,
    }
    extra = dict(arguments or {})
    module = called("arch", name, function, **{**accepted_arguments(function, facts), **extra})
    if not isinstance(module, nn.Module):
        fix = "return a torch.nn.Module"
        raise ConfigError(problem("arch", f"{name} gives no network", got=type(module).__name__, fix=fix))
    body = Body(module, pool, drop_rate, parts, code.digests())
    mean, std = statistics(_STATISTICS, channels, pixels)
    network = Classifier(body, _width(body, name, channels, pixels.sides), heads, mean, std)
    network.drop_rate = drop_rate
    if weights is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(weights, weights_strict, most_missing=0))
    adapt.freeze(network, freeze)
    return network


def _width(body: Body, name: str, channels: int, sides: tuple[int, ...]) -> int:
    """Return the number of features, found by a forward pass."""
    was_training = body.training
    body.eval()
    with torch.no_grad():
        features = called("arch", name, body, torch.zeros(2, channels, *sides))
    body.train(was_training)
    if features.ndim != 2 or len(features) != 2:
        fix = "let it give (n, features) or (n, features, height, width)"
        raise ConfigError(problem("arch", f"the module of {name} gives no features", got=list(features.shape), fix=fix))
    return int(features.shape[1])
