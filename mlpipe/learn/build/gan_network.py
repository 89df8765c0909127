"""The networks of a generator and a critic: built-in convolutions, Keras networks, or your own functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from mlpipe.arch import classifier, initial_weights
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.arch.gan import ClassFeatures, ConvCritic, ConvGenerator, Gan, PixelFeatures
from mlpipe.arch.keras import graph as keras_graph
from mlpipe.arch.keras import parsing
from mlpipe.errors import ConfigError, DataError, first_line, problem
from mlpipe.learn.own_parts.own_code import Code, accepted_arguments, called

_NOISE = 64
Network = str | list[Any] | dict[str, Any] | None


def gan(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    generator: Network = None,
    critic: Network = None,
    name: str | None = None,
    noise: Annotated[int, ">= 1"] | None = None,
    width: Annotated[int, ">= 1"] = 32,
    values: Literal["signed", "unit"] = "signed",
    features: str | None = None,
    features_weights: str | None = None,
    pretrained: bool = True,
    weights: str | None = None,
    modules: str | None = None,
    imports: list[str] | None = None,
    trust: list[str] | None = None,
) -> Gan:
    """A generator of images, the critic it learns from, and features by which images are compared.

    Your own function gets those of `noise`, `shape` (channels, height, width), `width` and `values` that it has parameters
    for, and returns a torch.nn.Module: from noise (n, noise) to images (n, *shape), or from images to scores (n, 1).

    Args:
        heads: The only target; given by the program.
        pixels: Facts about the images; given by the program.
        generator: None: `mlpipe.arch.gan.ConvGenerator`; the output of Keras's `model.to_json()`; or a function's name.
        critic: None: `mlpipe.arch.gan.ConvCritic`; or as for `generator`.
        name: The name of both together.
        noise: Numbers that an image is drawn from; None: as many as the generator takes, 64 if it takes any number.
        width: Channels of the largest maps of the built-in convolutions.
        values: The range of pixel values: signed (-1 to 1) or unit (0 to 1; arrays are unchanged).
        features: `classes`, `pixels` or a timm network; None: classes if the task has some, otherwise pixels.
        features_weights: A weights file for that timm network.
        pretrained: Whether that timm network is pretrained.
        weights: A weights file for generator, critic and features.
        modules: Folder of Python files with your own functions.
        imports: Modules to import in addition.
        trust: Folders outside the current one, and modules, whose code may run.

    Raises:
        ConfigError: When the networks do not fit each other or the images, or the loss does not train a generator.
        DataError: When samples are not images, or a weights file does not fit.
    """
    target, head = _only(heads, pixels)
    shape = (pixels.channels, *pixels.sides)
    code, facts = Code(modules, imports or (), (), trust or ()), {"shape": shape, "width": width, "values": values}
    parts = _Parts(shape, width, values == "signed", code, facts)
    drawing, numbers = parts.generator(generator, noise)
    network = Gan(
        drawing,
        parts.critic(critic),
        _features(features, features_weights, pretrained, head, pixels),
        numbers,
        shape,
        pixels.peak,
        signed=values == "signed",
        target=target,
    )
    _check(network)
    if weights is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(weights, strict=True))
    return network


def _only(heads: Mapping[str, Head], pixels: Pixels) -> tuple[str, Head]:
    """Return the only target, which must have a loss that trains a generator.

    Raises:
        ConfigError: When there are other targets, or another loss.
        DataError: When samples are records.
    """
    (target, head), *others = heads.items()
    if not head.draws:
        fix = "use loss=wasserstein, or another arch"
        raise ConfigError(problem("arch", "gan draws images, and predicts nothing of them", got="gan", fix=fix))
    if others:
        wrong = "a generator is learned alone"
        raise ConfigError(problem("mode.multitask", wrong, got=1 + len(others), fix="leave it out"))
    if pixels.inputs:
        wrong = "gan draws images, the task's samples are records"
        raise DataError(problem("arch", wrong, got="gan", fix="use a task of images"))
    return target, head


class _Parts:
    """Builds generator and critic for images of one shape.

    Args:
        shape: Channels and spatial shape.
        width: Channels of the largest maps.
        signed: Whether values are -1 to 1.
        code: The user's functions.
        facts: Arguments that such a function may accept.
    """

    def __init__(self, shape: tuple[int, ...], width: int, signed: bool, code: Code, facts: dict[str, Any]) -> None:
        self._shape, self._width, self._signed, self._code, self._known_arguments = shape, width, signed, code, facts

    def generator(self, given: Network, noise: int | None) -> tuple[nn.Module, int]:
        """Return the generator and its number of inputs."""
        if given is None:
            self._demand_planes("generator")
            count = noise or _NOISE
            return ConvGenerator(count, self._shape, self._width, signed=self._signed), count
        if not _is_keras(given):
            count = noise or _NOISE
            return self._own_module("generator", str(given), noise=count), count
        module, takes = _keras("generator", given, None if noise is None else (noise,))
        count = math.prod(takes)
        if noise is not None and noise != count:
            wrong, fix = f"the generator takes {count} numbers", f"use arch.noise={count}, or leave it out"
            raise ConfigError(problem("arch.noise", wrong, got=noise, fix=fix))
        return _Reshaped(module, (takes[-1], *takes[:-1])), count

    def critic(self, given: Network) -> nn.Module:
        """Return the critic."""
        if given is None:
            self._demand_planes("critic")
            return ConvCritic(self._shape, self._width)
        if not _is_keras(given):
            return self._own_module("critic", str(given))
        own = (*self._shape[1:], self._shape[0])
        module, takes = _keras("critic", given, own)
        if takes != own:
            wrong = f"takes images of {_size_text(takes)}, the task's are {_size_text(own)}"
            raise ConfigError(problem("arch.critic", wrong, fix="change its input, or preprocessing.size"))
        return module

    def _own_module(self, key: str, name: str, **more: Any) -> nn.Module:
        function = self._code.function(f"arch.{key}", name)
        module = called(
            f"arch.{key}", name, function, **accepted_arguments(function, {**self._known_arguments, **more})
        )
        if not isinstance(module, nn.Module):
            fix = "return a torch.nn.Module"
            raise ConfigError(problem(f"arch.{key}", f"{name} gives no network", got=type(module).__name__, fix=fix))
        return module

    def _demand_planes(self, key: str) -> None:
        if len(self._shape) != 3:
            wrong = f"convolutions of images draw no samples of {_size_text(self._shape[1:])}"
            raise DataError(problem(f"arch.{key}", wrong, fix="name a network of Keras, or a function of your own"))


class _Reshaped(nn.Module):
    """A network that takes noise in another shape than a row of numbers."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self._shape = network, shape

    def forward(self, noise: Tensor) -> Tensor:
        """Return the network's output for noise of shape (n, noise)."""
        images: Tensor = self.network(noise.view(-1, *self._shape))
        return images


def _is_keras(given: Network) -> bool:
    return not isinstance(given, str) or given.lstrip().startswith(("{", "["))


def _keras(key: str, given: Network, otherwise: tuple[int, ...] | None) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a Keras network and its input shape, channels last; `otherwise` if its file leaves the shape open."""
    content: Any = parsing.decoded(given, f"arch.{key}") if isinstance(given, str) else given
    try:
        described = parsing.describe(content)
        if len(described.inputs) != 1:
            raise ConfigError(
                problem(f"arch.{key}", "takes one input", got=len(described.inputs), fix="leave others out")
            )
        stated = described.shapes.get(described.inputs[0])
        sides = [side for side in stated or () if side is not None]
        is_open = stated is None or len(sides) < len(stated)
        takes = otherwise or (_NOISE,) if is_open else tuple(sides)
        module = keras_graph.build(described, [takes])
    except ConfigError as error:
        # The messages name the key of arch=keras_json, the usual place of such a network.
        raise ConfigError([sentence.replace("arch.layers", f"arch.{key}", 1) for sentence in error.problems]) from error
    return module, takes


def _features(name: str | None, file: str | None, pretrained: bool, head: Head, pixels: Pixels) -> nn.Module:
    """Build the features by which images are compared."""
    if name is None:
        name = "classes" if head.classes > 1 and len(pixels.sides) == 2 else "pixels"
    if file is not None and name in ("classes", "pixels"):
        fix = "name a network of timm with arch.features, or leave it out"
        raise ConfigError(problem("arch.features_weights", f"are not for features of {name}", got=file, fix=fix))
    if name == "pixels":
        return PixelFeatures(pixels.peak)
    if name == "classes":
        if head.classes < 2:
            wrong = "the task's images have no classes"
            raise ConfigError(problem("arch.features", wrong, got=name, fix="use pixels, or a network of timm"))
        return ClassFeatures(pixels.channels, head.classes, pixels.peak)
    weights = file if pretrained else None
    try:
        network = classifier.timm(
            {"features": Head(1)}, pixels, name=name, pretrained=pretrained and file is None, weights=weights
        )
    except (ConfigError, DataError) as error:
        named_keys = {"arch.weights": "arch.features_weights", "arch.pretrained": "arch.features"}
        sentences = [
            sentence.replace(key, new, 1)
            for sentence in error.problems
            for key, new in named_keys.items()
            if sentence.startswith(key)
        ]
        raise type(error)(sentences or error.problems) from error
    return _TimmFeatures(network)


class _TimmFeatures(nn.Module):
    """Pooled features of a timm network, for pixels as they are cached."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return features, shape (n, features)."""
        return self.network.features(images)


def _check(network: Gan) -> None:
    """Check with one drawn image that generator and critic fit each other and the images.

    Raises:
        ConfigError: When they do not.
    """
    shape = network.shape
    modes = {name: module.training for name, module in network.named_modules()}
    network.eval()
    with torch.no_grad():
        noise = torch.zeros(2, network.noise)
        drawn = _tried("generator", network.generator, noise, f"{network.noise} numbers")
        if drawn.shape[1:] != shape:
            wrong = f"draws images of {_size_text(drawn.shape[2:], drawn.shape[1:2])}"
            fix = "change its last layers, or preprocessing.size"
            size = _size_text(shape[1:], shape[:1])
            raise ConfigError(problem("arch.generator", f"{wrong}, the critic takes the task's, {size}", fix=fix))
        scores = _tried("critic", network.critic, drawn, f"images of {_size_text(shape[1:], shape[:1])}")
    if scores.shape != (2, 1):
        fix = "end it in one number without an activation, such as a Dense layer of one unit"
        raise ConfigError(problem("arch.critic", "gives one score for an image", got=list(scores.shape[1:]), fix=fix))
    for name, module in network.named_modules():
        module.training = modes[name]


def _tried(key: str, module: Callable[[Tensor], Any], given: Tensor, description: str) -> Tensor:
    try:
        output = module(given)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        wrong = f"cannot take {description} ({first_line(error)})"
        fix = "use arch.noise, or change its first layers" if key == "generator" else "change its first layers"
        raise ConfigError(problem(f"arch.{key}", wrong, fix=fix)) from error
    if not isinstance(output, Tensor):
        wrong = "gives one tensor"
        raise ConfigError(problem(f"arch.{key}", wrong, got=type(output).__name__, fix="give a network one output"))
    return output


def _size_text(sides: tuple[int, ...] | torch.Size, channels: tuple[int, ...] | torch.Size = ()) -> str:
    size = " x ".join(map(str, sides)) or "no sides"
    return f"{size} with {channels[0]} {'channel' if channels[0] == 1 else 'channels'}" if channels else size
