"""Keras's normalisation layers: batch, instance, group, layer, RMS, unit, and that of input pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.convolutions import Made, same
from mlpipe.arch.keras.layers.layout import first, torch_axis, with_channels_last
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot
from mlpipe.errors import counted

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_INSTANCE = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}


class AlongAxis(nn.Module):
    """Applies a module for channels to another axis.

    Args:
        norm: The module.
        place: The torch axis.
    """

    def __init__(self, norm: nn.Module, place: int) -> None:
        super().__init__()
        self.norm, self.place = norm, place

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        y: Tensor = self.norm(x.movedim(self.place, 1))
        return y.movedim(1, self.place)


class StepsBatchNorm(nn.BatchNorm1d):
    """A batch normalisation over steps that excludes masked steps from mean and variance."""

    def forward(self, x: Tensor, *, masks: Sequence[Tensor | None] = ()) -> Tensor:
        """Return a tensor of the same shape, (n, channels, steps).

        Args:
            x: The input.
            masks: The mask of `x`, True for steps that count, (n, steps).
        """
        mask = masks[0] if masks else None
        if mask is None or not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        whole, counts = x.to(self.running_mean.dtype), mask.unsqueeze(1)
        count = counts.sum().clamp(min=1)
        mean = (whole * counts).sum((0, 2)) / count
        apart = whole - mean.view(-1, 1)
        variance = (apart.square() * counts).sum((0, 2)) / count
        with torch.no_grad():
            share = self.momentum or 0.0
            self.running_mean.lerp_(mean, share)
            # The unbiased variance, as in torch's own batch normalisation.
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)
        normed = apart * torch.rsqrt(variance + self.eps).view(-1, 1)
        if self.affine:
            normed = normed * self.weight.view(-1, 1) + self.bias.view(-1, 1)
        return normed.to(x.dtype)


_BATCH: dict[int, type[BatchNorm]] = {1: nn.BatchNorm1d, 2: StepsBatchNorm, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}


class LayerNorm(nn.Module):
    """Keras's layer normalisation over some axes of each image.

    Args:
        shape: Sizes of these axes.
        axes: Their numbers in Keras, ascending.
        eps: Added to the variance.
        scale: Whether it has a learned factor.
        center: Whether it has a learned offset.
    """

    def __init__(self, shape: Shape, axes: tuple[int, ...], eps: float, scale: bool, center: bool) -> None:
        super().__init__()
        self.axes, self.eps = axes, eps
        self.weight = nn.Parameter(torch.ones(shape)) if scale else None
        self.bias = nn.Parameter(torch.zeros(shape)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        # Move the normalised axes to the end, in order, and back afterwards.
        y = with_channels_last(x)
        ends = tuple(range(y.ndim - len(self.axes), y.ndim))
        y = y.movedim(self.axes, ends)
        y = F.layer_norm(y, y.shape[ends[0] :], self.weight, self.bias, self.eps)
        return first(y.movedim(ends, self.axes))


class GroupNorm(nn.Module):
    """Keras's group normalisation (Wu and He 2018) over all positions and the channels of a group, for each image.

    Args:
        groups: Number of channel groups.
        channels: Number of channels.
        eps: Added to the variance.
        scale: Whether it has a learned factor for each channel.
        center: Whether it has a learned offset for each channel.
    """

    def __init__(self, groups: int, channels: int, eps: float, scale: bool, center: bool) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape, channels second."""
        return torch.group_norm(x, self.groups, self.weight, self.bias, self.eps)


class RmsNorm(nn.Module):
    """Division of each image by its root mean square along some axes.

    Args:
        shape: Sizes of these axes.
        axes: Their numbers in Keras, ascending.
        eps: Added to the mean square.
    """

    def __init__(self, shape: Shape, axes: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.axes, self.eps, self.weight = axes, eps, nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        y = with_channels_last(x)
        share = torch.rsqrt((y**2).mean(self.axes, keepdim=True) + self.eps)
        sizes = [size if place in self.axes else 1 for place, size in enumerate(y.shape)]
        return first(y * share * self.weight.view(sizes))


class UnitNorm(nn.Module):
    """Division of each image by its length along some axes.

    Args:
        axes: Numbers of the axes in Keras.
    """

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        y = with_channels_last(x)
        # `vector_norm` has the gradient zero, not NaN, where all values are zero.
        return first(y / torch.linalg.vector_norm(y, dim=self.axes, keepdim=True).clamp(min=1e-12))


class Normalize(nn.Module):
    """Keras's Normalization: (x - mean) / standard deviation, both given.

    Args:
        mean: One number, or one for each channel.
        variance: One number, or one for each channel.
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.mean: Tensor
        self.variance: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        shape = (1, -1, *[1] * (x.ndim - 2))
        # Keras divides by at least its epsilon.
        return (x - self.mean.view(shape)) / self.variance.sqrt().clamp(min=1e-7).view(shape)


def batch_norm(keys: Keys, shape: Shape) -> Made:
    """BatchNormalization; Keras's momentum is 1 minus torch's."""
    place = _axis(keys, shape)
    for key in ("renorm", "virtual_batch_size", "adjustment"):
        keys.only(key, False)
    for key in ("renorm_clipping", "renorm_momentum", "fused", "synchronized"):
        keys.value(key, "")
    channels = shape[-1] if place == 1 else shape[place - 2]
    eps, momentum = keys.number("epsilon", 1e-3), 1 - keys.number("momentum", 0.99)
    scale, center = keys.flag("scale", True), keys.flag("center", True)
    norm = _BATCH[len(shape)](channels, eps, momentum, affine=scale or center)
    slots = {
        "moving_mean": Slot("running_mean", (channels,), same, keys.initializer("moving_mean_initializer", "Zeros")),
        "moving_variance": Slot(
            "running_var", (channels,), same, keys.initializer("moving_variance_initializer", "Ones")
        ),
    }
    if center and not scale:
        _make_constant(norm, "weight")
    if scale and not center:
        _make_constant(norm, "bias")
    return _along(norm, slots | _learned_slots(keys, (channels,), scale, center), place)


def instance_norm(keys: Keys, shape: Shape) -> Made:
    """InstanceNormalization, which Keras does not have: keys and defaults are torch's."""
    if len(shape) not in _INSTANCE:
        keys.wrong("input", "needs spatial axes", got=shape)
    eps, momentum = keys.number("epsilon", 1e-5), keys.number("momentum", 0.1)
    affine, tracks = keys.flag("affine", False), keys.flag("track_running_stats", False)
    norm = _INSTANCE[len(shape)](shape[-1], eps, momentum, affine, tracks)
    slots: dict[str, Slot] = {}
    if affine:
        slots = {"gamma": Slot("weight", shape[-1:], same), "beta": Slot("bias", shape[-1:], same)}
    if tracks:
        slots["moving_mean"] = Slot("running_mean", shape[-1:], same)
        slots["moving_variance"] = Slot("running_var", shape[-1:], same)
    return norm, slots


def group_norm(keys: Keys, shape: Shape) -> Made:
    """GroupNormalization; -1 groups means one per channel."""
    place = _axis(keys, shape)
    channels = shape[-1] if place == 1 else shape[place - 2]
    groups = keys.count("groups", 32, least=-1)
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        keys.wrong("groups", f"must divide {counted(channels, 'channel')}, or be -1", got=groups)
    scale, center = keys.flag("scale", True), keys.flag("center", True)
    norm = GroupNorm(groups, channels, keys.number("epsilon", 1e-3), scale, center)
    return _along(norm, _learned_slots(keys, (channels,), scale, center), place)


def rms_norm(keys: Keys, shape: Shape) -> Made:
    """RMSNormalization: its weights have the shape of the normalised axes."""
    axes, sizes = _axes(keys, shape)
    return RmsNorm(sizes, axes, keys.number("epsilon", 1e-6)), {"scale": Slot("weight", sizes, same)}


def unit_norm(keys: Keys, shape: Shape) -> nn.Module:
    """UnitNormalization."""
    return UnitNorm(_axes(keys, shape)[0])


def layer_norm(keys: Keys, shape: Shape) -> Made:
    """LayerNormalization: its weights have the shape of the normalised axes."""
    keys.only("rms_scaling", False)
    axes, sizes = _axes(keys, shape)
    scale, center = keys.flag("scale", True), keys.flag("center", True)
    norm = LayerNorm(sizes, axes, keys.number("epsilon", 1e-3), scale, center)
    return norm, _learned_slots(keys, sizes, scale, center)


def _learned_slots(keys: Keys, sizes: Shape, scale: bool, center: bool) -> dict[str, Slot]:
    """Return the slots of the factor and the offset that a normalisation learns."""
    gamma, beta = keys.initializer("gamma_initializer", "Ones"), keys.initializer("beta_initializer", "Zeros")
    slots = {"gamma": Slot("weight", sizes, same, gamma)} if scale else {}
    return slots | ({"beta": Slot("bias", sizes, same, beta)} if center else {})


def _along(norm: nn.Module, slots: dict[str, Slot], place: int) -> Made:
    """Return a normalisation of channels along the axis from `_axis`."""
    if place == 1:
        return norm, slots
    return AlongAxis(norm, place), {key: slot.inside("norm") for key, slot in slots.items()}


def normalization(keys: Keys, shape: Shape) -> Made:
    """Normalization over channels, with statistics from the file or from the weights file."""
    setting = keys.value("axis", -1) if keys.config.get("axis", -1) is not None else None
    listed = setting if isinstance(setting, list) else [setting]
    if setting not in (None, []) and listed not in ([-1], [len(shape)]):
        keys.wrong("axis", "is supported for the channels only", got=setting, fix="use -1")
    keys.only("invert", False)
    channels = 1 if setting in (None, []) else shape[-1]
    mean, variance = (_numbers(keys, key, channels, default) for key, default in (("mean", 0.0), ("variance", 1.0)))
    slots = {"mean": Slot("mean", (channels,), torch.flatten), "variance": Slot("variance", (channels,), torch.flatten)}
    return Normalize(mean, variance), slots if keys.config.get("mean") is None else {}


def _numbers(keys: Keys, key: str, channels: int, default: float) -> Tensor:
    setting: Any = keys.value(key, default)
    try:
        values = torch.tensor(setting, dtype=torch.float32, device="cpu").flatten()
    except (TypeError, ValueError):
        values = torch.zeros(0, device="cpu")
    if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values.tolist()):
        keys.wrong(key, f"must be a number, or a list of {channels}", got=setting)
    return values.repeat(channels) if len(values) == 1 else values


def _axes(keys: Keys, shape: Shape) -> tuple[tuple[int, ...], Shape]:
    """Return the axes in `axis`, ascending, in Keras's numbering, and their sizes."""
    setting = keys.value("axis", -1)
    listed = setting if isinstance(setting, Sequence) and not isinstance(setting, str) else [setting]
    if not listed or not all(isinstance(item, int) for item in listed):
        keys.wrong("axis", "must be a whole number or a list of them", got=setting)
    axes = tuple(sorted({item + len(shape) + 1 if item < 0 else item for item in listed}))
    if axes[0] < 1 or axes[-1] > len(shape):
        keys.wrong("axis", f"does not fit an input of shape {shape}", got=setting)
    return axes, tuple(shape[item - 1] for item in axes)


def _axis(keys: Keys, shape: Shape) -> int:
    """Return the torch axis for `axis`; Keras writes it as 3, [3] or -1."""
    setting = keys.value("axis", -1)
    number = setting[0] if isinstance(setting, list) and len(setting) == 1 else setting
    try:
        return torch_axis(int(number), len(shape) + 1)
    except (IndexError, TypeError, ValueError):
        keys.wrong("axis", f"does not fit an input of shape {shape}", got=setting, fix="use -1")


def _make_constant(norm: nn.Module, name: str) -> None:
    """Turn a parameter that Keras does not have into a constant of the same name."""
    value = getattr(norm, name).detach()
    delattr(norm, name)
    norm.register_buffer(name, value)
