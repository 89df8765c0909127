"""Heat maps: the places of an image that raised a network's answer, by class activation maps of pytorch-grad-cam.

A map is computed from the last layer that has outputs by place on which the answer depends: the last feature maps of a
convolutional network, or the tokens before the last attention of a transformer whose head reads a class token. The outputs of
that layer times the gradient of the answer, summed over channels and clipped at zero, are the map: place by place with
`hires_cam` (Draelos & Carin 2020), with the gradient's mean over all places in `grad_cam` (Selvaraju et al. 2017). For a linear
head on globally averaged feature maps both equal the class activation map of Zhou et al. (2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.arch.classifier import Classifier
from mlpipe.arch.segmenter import Segmenter
from mlpipe.config.schema import Recipe
from mlpipe.data.preprocessing import Preprocessing, resized
from mlpipe.errors import ConfigError, MlpipeError, listing, not_installed, problem
from mlpipe.learn.module import TARGET
from mlpipe.learn.nearest_head import Neighbours
from mlpipe.predicting import kind as predict_kind
from mlpipe.predicting import pictures

Method = Literal["hires_cam", "grad_cam"]
METHODS: tuple[str, ...] = get_args(Method)
Map = npt.NDArray[np.float32]

_AT_ONCE = 32
# Tokens without a place in the image come first; no network has more of them.
_MOST_PREFIX = 16
# Intermediate outputs of attention, which mix places.
_ATTENTION = ("attn", "attention", "self_att", "cross_att")


def problems(names: Sequence[str], recipes: Sequence[Recipe], kind: str, axes: int) -> list[str]:
    """Return a sentence for each reason why models have no heat maps.

    Args:
        names: The models' names.
        recipes: Their recipes.
        kind: The kind of the task.
        axes: The number of spatial axes of a sample.
    """
    if find_spec("pytorch_grad_cam") is None:
        return [not_installed("heat maps", "pytorch_grad_cam")]
    if predict_kind.of(kind).SCORE is None:
        return [problem("heat maps", f"are of an answer for an image, these models predict {kind}")]
    if axes != 2:
        return [problem("heat maps", "lie on images of two axes", got=axes)]
    sentences = [
        problem(name, "sees an image in cells (slicing), which have no common map", fix="train with slicing=none")
        for name, recipe in zip(names, recipes, strict=True)
        if not recipe.slicing.is_none
    ]
    return sentences + pictures.step_problems(recipes)


def of_images(network: nn.Module, images: Tensor, chosen: Sequence[int], kind: str, method: Method) -> Map:
    """Return the map of each image, from 0 to 1, shape (n, height, width); all zero if nothing raised the answer.

    Args:
        network: Samples to outputs by head, with its weights, on its device.
        images: The network's input, shape (n, channels, height, width).
        chosen: The number of the class, label or number of each image to explain.
        kind: The kind of the task.
        method: The method of the map.

    Raises:
        ConfigError: When the network has no layer with places on which the answer depends.
    """
    high, wide = images.shape[2:]
    # Padding that the network adds at the edges is part of the map, and is cropped.
    images, top, left = network.padded(images) if isinstance(network, Segmenter) else (images, 0, 0)
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
    numbers = torch.as_tensor(list(chosen), dtype=torch.int64, device=images.device)
    with _frozen(network), torch.enable_grad():
        scores = _Scores(network, kind, (slice(top, top + high), slice(left, left + wide)))
        layer = _layer(scores, images.float(), numbers)
        if layer is None:
            return np.zeros((len(images), high, wide), np.float32)
        maps = []
        for part in parts:
            inputs = images[part].float()
            part_maps = _maps(scores, layer, inputs, numbers[part], method)
            if scores.is_mirrored:
                part_maps = np.float32(0.5) * (
                    part_maps + _maps(scores, layer, inputs.flip(-1), numbers[part], method)[..., ::-1]
                )
            maps.append(part_maps)
    return np.concatenate(maps)[:, top : top + high, left : left + wide]


def restored(maps: Map, before: Preprocessing, sizes: Sequence[tuple[int, int]]) -> list[Map]:
    """Map the heat maps back to the places and sizes of the original images; zero where the network saw nothing.

    Args:
        maps: Shape (n, height, width).
        before: The preprocessing of the images.
        sizes: Height and width of each image.
    """
    image_maps = []
    for heat_map, (height, width) in zip(maps, sizes, strict=True):
        plane = np.ascontiguousarray(heat_map[..., np.newaxis], np.float32)
        if before.sides is not None and plane.shape[:2] != before.sides:
            plane = resized(plane, *before.sides)
        values, is_seen = before.restored(plane, height, width)
        image_maps.append(np.where(is_seen, values[..., 0], np.float32(0)).clip(0, 1))
    return image_maps


def mean(parts: Sequence[Sequence[Map]], weights: Sequence[float]) -> list[Map]:
    """Return the weighted mean of several models' maps of the same images, scaled to a maximum of 1 per image.

    Args:
        parts: The maps of each model.
        weights: One number for each model.
    """
    means = []
    for maps in zip(*parts, strict=True):
        total = sum(heat_map * np.float32(weight) for heat_map, weight in zip(maps, weights, strict=True))
        means.append(np.asarray(total / max(float(np.max(total)), 1e-12), np.float32))
    return means


class _Scores(nn.Module):
    """Images and the output to explain of each, to the number whose gradient is taken, shape (n,)."""

    def __init__(self, network: nn.Module, kind: str, window: tuple[slice, slice]) -> None:
        super().__init__()
        # The part of the network's input that is the image, for answers with a value for every pixel.
        self._window = window
        score = predict_kind.of(kind).SCORE
        assert score is not None, kind
        self.network, self._score = network, score
        self.asked = torch.zeros(0, dtype=torch.int64)
        self.is_mirrored = isinstance(network, Classifier) and network.mirrored
        head = network.heads[TARGET] if isinstance(network, Classifier) else None
        # Votes of the nearest images are discrete: the similarity to the class has a useful gradient.
        self._nearest = head if isinstance(head, Neighbours) and head.has_evidence else None

    def forward(self, images: Tensor) -> Tensor:
        if self._nearest is not None:
            return self._nearest.evidence(self.network.features(images), self.asked)  # type: ignore[operator]
        outputs = self.network(images)[TARGET].float()
        return self._score(outputs[..., *self._window] if outputs.ndim == 4 else outputs, self.asked)

    @property
    def body(self) -> nn.Module:
        """The part that contains the layer of the map; what a decoder adds for every pixel, or cell, is the answer itself.

        Raises:
            ConfigError: When a network for boxes has no such part.
        """
        layers = getattr(self.network, "image_layers", self.network)
        assert isinstance(layers, nn.Module)
        return layers


@dataclass(frozen=True)
class _Layer:
    """A layer whose outputs have places in the image.

    Attributes:
        module: The layer.
        planes: From its outputs to feature maps, shape (n, channels, height, width).
    """

    module: nn.Module
    planes: Callable[[Tensor], Tensor]


def _layer(scores: _Scores, images: Tensor, asked: Tensor) -> _Layer | None:
    """Return the last layer with outputs by place, if the answer has a gradient at more than one place of it.

    Args:
        scores: The answer.
        images: The images, of which the first one with an answer decides.
        asked: The output of each to explain.

    Returns:
        None if no image has an answer, such as an object.

    Raises:
        ConfigError: When there is no such layer.
    """
    for place in range(len(images)):
        layer, has_answer = _layer_of(scores, images[place : place + 1], asked[place : place + 1])
        if layer is not None:
            return layer
        if has_answer:
            wrong = "has no layer whose outputs lie on the image and that its answer depends on"
            raise ConfigError(problem("heat maps", f"the network {wrong}"))
    return None


def _layer_of(scores: _Scores, image: Tensor, numbers: Tensor) -> tuple[_Layer | None, bool]:
    """Return the layer for one image, and whether the answer depends on the image at all."""
    calls: dict[nn.Module, int] = {}
    reached: list[tuple[_Layer, list[bool]]] = []

    def seen(module: nn.Module, given: Any, output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        planes = _planes(output, image) if isinstance(output, Tensor) and output.requires_grad else None
        if planes is None:
            return
        depends = list[bool]()
        reached.append((_Layer(module, planes), depends))
        output.register_hook(lambda gradient: depends.append(_is_spread(planes(gradient))))

    with _hooks(module.register_forward_hook(seen) for name, module in scores.body.named_modules() if _is_layer(name)):
        scores.asked = numbers
        pixels = image.clone().requires_grad_()
        scores(pixels).sum().backward()
    # A layer that is called at several depths cannot be used.
    once = 2 if scores.is_mirrored else 1
    layers = [layer for layer, depends in reached if any(depends) and calls[layer.module] <= once]
    return (layers[-1] if layers else None), pixels.grad is not None and bool(pixels.grad.any())


def _is_layer(name: str) -> bool:
    """Return whether a module is a layer of its own, not an intermediate step of an attention."""
    return bool(name) and not any(part.startswith(_ATTENTION) for part in name.split("."))


def _is_spread(gradient: Tensor) -> bool:
    return int((gradient.abs().sum(1) > 0).sum()) > 1


def _planes(output: Tensor, image: Tensor) -> Callable[[Tensor], Tensor] | None:
    """Return the function from a layer's outputs to feature maps of one image; None if they have no places."""
    high, wide = image.shape[2:]
    if len(output) != 1:
        return None
    if output.ndim == 4:
        _, first, second, third = output.shape
        if _is_grid(second, third, high, wide):
            return lambda values: values
        return (lambda values: values.movedim(-1, 1)) if _is_grid(first, second, high, wide) else None
    if output.ndim != 3:
        return None
    for prefix in range(min(_MOST_PREFIX, output.shape[1])):
        tokens = output.shape[1] - prefix
        down = max(round(math.sqrt(tokens * high / wide)), 1)
        across = tokens // down
        if down * across == tokens > 1 and across == round(down * wide / high):
            return partial(_token_planes, prefix=prefix, sides=(down, across))
    return None


def _token_planes(values: Tensor, prefix: int, sides: tuple[int, int]) -> Tensor:
    return values[:, prefix:].transpose(1, 2).reshape(len(values), -1, *sides)


def _is_grid(down: int, across: int, high: int, wide: int) -> bool:
    """Return whether a grid of this many rows and columns fits an image's height and width, up to rounding."""
    step = high / down if down else 0
    return down * across > 1 and step >= 1 and abs(wide / step - across) < 1.01


def _maps(scores: _Scores, layer: _Layer, images: Tensor, numbers: Tensor, method: Method) -> Map:
    import pytorch_grad_cam

    method_class = {"hires_cam": pytorch_grad_cam.HiResCAM, "grad_cam": pytorch_grad_cam.GradCAM}[method]

    def begin_here(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Stop gradients below this layer; the outputs are copied because a later layer may change them in place."""
        return output.detach().requires_grad_().clone()

    scores.asked = numbers
    with _hooks([layer.module.register_forward_hook(begin_here)]):
        library = method_class(scores, [layer.module], reshape_transform=layer.planes)
        try:
            maps = library(images, [_identity] * len(images))
        finally:
            library.activations_and_grads.release()
    if not np.isfinite(maps).all():
        raise MlpipeError(problem("heat maps", "the network's gradients are infinite or NaN"))
    return np.asarray(maps, np.float32)


def _identity(value: Tensor) -> Tensor:
    return value


@contextmanager
def _hooks(handles: Any) -> Iterator[None]:
    hooks = list(handles)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Disable gradients of weights."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    was_training = network.training
    network.eval()
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        network.train(was_training)


def check_method(method: str, key: str) -> Method:
    """Return a method by its name.

    Args:
        method: The name.
        key: The key that holds it, for the sentence.

    Raises:
        ConfigError: When there is no such method.
    """
    if method not in METHODS:
        raise ConfigError(problem(key, "is no way to make heat maps", got=method, fix=f"use {listing(METHODS)}"))
    return method  # type: ignore[return-value]
