"""Keras's layers that rearrange values: reshape, flatten, permute, pad, crop, upsample, drop; axes are Keras's."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers import activations
from mlpipe.arch.keras.layers.activations import Activation
from mlpipe.arch.keras.layers.convolutions import Made
from mlpipe.arch.keras.layers.layout import first, padded, stored, torch_axis, with_channels_last
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot

_DROPOUT: dict[int, type[nn.Module]] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}


class Reshape(nn.Module):
    """Reshapes each image, with its values in Keras's order.

    Args:
        shape: Without the batch; one size may be -1.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return the requested shape, channels second."""
        return first(with_channels_last(x).reshape(x.shape[0], *self.shape))


class Flatten(nn.Module):
    """Flattens each image in Keras's order: channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, values)."""
        return with_channels_last(x).flatten(1)


class Permute(nn.Module):
    """Permutes the axes of each image.

    Args:
        order: Keras's axes, counted from 1.
    """

    def __init__(self, order: Shape) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor with permuted axes."""
        return first(with_channels_last(x).permute(0, *self.order))


class Repeat(nn.Module):
    """Repeats a row as the steps of a sequence.

    Args:
        steps: Number of repetitions.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, steps)."""
        return x.unsqueeze(2).expand(-1, -1, self.steps)


class PRelu(nn.Module):
    """ReLU with learned slopes below zero, one per value or shared along some axes.

    Args:
        shape: Shape of the slopes, channels first.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return F.relu(x) - self.alpha * F.relu(-x)


class Pad(nn.Module):
    """Pads each image with zeros; negative amounts crop.

    Args:
        amounts: Amounts before and after each axis.
    """

    def __init__(self, amounts: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.amounts = amounts

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, ...).

        Raises:
            ValueError: When more is cropped than there is.
        """
        if any(length + sum(pair) < 1 for length, pair in zip(x.shape[2:], self.amounts, strict=True)):
            raise ValueError("nothing is left of it")
        return padded(x, self.amounts)


class Upsample(nn.Module):
    """Upsamples each axis by a factor.

    Args:
        factors: Factor of each axis.
        mode: `nearest` or `bilinear`.
    """

    def __init__(self, factors: Shape, mode: str) -> None:
        super().__init__()
        self.factors, self.mode = factors, mode

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, channels, ...)."""
        size = [length * factor for length, factor in zip(x.shape[2:], self.factors, strict=True)]
        return F.interpolate(x, size, mode=self.mode, align_corners=None if self.mode == "nearest" else False)


class SharedDropout(nn.Module):
    """Dropout with a mask shared along some axes, such as whole images (stochastic depth).

    Args:
        rate: Share of dropped values.
        axes: The torch axes along which the mask is shared.
    """

    def __init__(self, rate: float, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.rate, self.axes = rate, axes

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if not self.training:
            return x
        ones = x.new_ones([1 if place in self.axes else size for place, size in enumerate(x.shape)])
        return x * F.dropout(ones, self.rate)


class Rescale(nn.Module):
    """Multiplies by a factor and adds an offset.

    Args:
        scale: One number, or one for each channel.
        offset: One number, or one for each channel.
    """

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.scale: Tensor
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        shape = (1, -1, *[1] * (x.ndim - 2))
        return x * self.scale.view(shape) + self.offset.view(shape)


class Activate(nn.Module):
    """An activation as a layer.

    Args:
        activation: The function.
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return self.activation(x)


class Softmax(nn.Module):
    """Softmax over some axes, or its logarithm.

    Args:
        places: The torch axes.
        logarithm: Return the logarithm.
    """

    def __init__(self, places: tuple[int, ...], logarithm: bool) -> None:
        super().__init__()
        self.places, self.logarithm = places, logarithm

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        logs = x.log_softmax(self.places[0]) if len(self.places) == 1 else x - x.logsumexp(self.places, keepdim=True)
        return logs if self.logarithm else (x.softmax(self.places[0]) if len(self.places) == 1 else logs.exp())


def reshape(keys: Keys, shape: Shape) -> nn.Module:
    """Reshape."""
    target = keys.value("target_shape")
    target = [target] if isinstance(target, int) else target
    if not isinstance(target, list | tuple) or not target or not all(isinstance(item, int) for item in target):
        keys.wrong("target_shape", "must be a list of whole numbers", got=target)
    numbers, free = math.prod(shape), list(target).count(-1)
    product = math.prod(item for item in target if item != -1)
    if min(target) < -1 or free > 1 or product <= 0 or (numbers % product if free else numbers != product):
        keys.wrong("target_shape", f"does not fit an input of shape {shape} with {numbers} numbers", got=target)
    return Reshape(tuple(target))


def flatten(keys: Keys, shape: Shape) -> nn.Module:
    """Flatten."""
    keys.channels_last()
    return Flatten()


def permute(keys: Keys, shape: Shape) -> nn.Module:
    """Permute."""
    order = keys.sizes("dims", len(shape))
    if sorted(order) != list(range(1, len(shape) + 1)):
        keys.wrong("dims", f"must be an order of 1 to {len(shape)}", got=order)
    return Permute(order)


def repeat(keys: Keys, shape: Shape) -> nn.Module:
    """RepeatVector."""
    if len(shape) != 1:
        keys.wrong("n", "needs an input of shape (features,)", got=shape)
    return Repeat(keys.count("n"))


def identity(keys: Keys, shape: Shape) -> nn.Module:
    """Identity, and ActivityRegularization, whose `l1` and `l2` change no output."""
    for key in ("l1", "l2") if keys.kind == "ActivityRegularization" else ():
        keys.number(key, 0.0)
    return nn.Identity()


def pad(keys: Keys, shape: Shape, dims: int) -> nn.Module:
    """ZeroPadding1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    return Pad(keys.pairs("padding", dims, 1))


def crop(keys: Keys, shape: Shape, dims: int) -> nn.Module:
    """Cropping1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    amounts = keys.pairs("cropping", dims, {1: 1, 2: 0, 3: 1}[dims])
    return Pad(tuple((-before, -after) for before, after in amounts))


def upsample(keys: Keys, shape: Shape, dims: int) -> nn.Module:
    """UpSampling1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    factors = keys.sizes("size", dims, 2)
    mode = keys.choice("interpolation", ("nearest", "bilinear"), "nearest") if dims == 2 else "nearest"
    return Upsample(factors, mode)


def dropout(keys: Keys, shape: Shape) -> nn.Module:
    """Dropout."""
    noise = keys.value("noise_shape", None)
    if noise is None:
        return nn.Dropout(_rate(keys))
    sizes = [1 if size == 1 else None for size in noise] if isinstance(noise, list) else []
    fits = len(sizes) == len(shape) + 1 and all(
        noise_size in (None, 1, size) for noise_size, size in zip(noise, (None, *shape), strict=True)
    )
    if not fits or sizes[0] == 1:
        keys.wrong(
            "noise_shape", f"does not fit an input of shape {shape}", got=noise, fix="use null or 1 for each axis"
        )
    return SharedDropout(
        _rate(keys), tuple(torch_axis(place, len(sizes)) for place, size in enumerate(sizes) if size == 1)
    )


def spatial_dropout(keys: Keys, shape: Shape, dims: int) -> nn.Module:
    """SpatialDropout1D to 3D: drops whole channels."""
    keys.rank(shape, dims)
    keys.channels_last()
    keys.only("noise_shape")
    return _DROPOUT[dims](_rate(keys))


def rescale(keys: Keys, shape: Shape) -> nn.Module:
    """Rescaling."""
    values = []
    for key, default in (("scale", 1.0), ("offset", 0.0)):
        setting = keys.value(key, default)
        try:
            numbers = torch.tensor(setting, dtype=torch.float32).flatten()
        except (TypeError, ValueError):
            numbers = torch.zeros(0)
        if len(numbers) not in (1, shape[-1]):
            keys.wrong(key, f"must be a number, or a list of {shape[-1]}", got=setting)
        values.append(numbers)
    return Rescale(*values)


def relu(keys: Keys, shape: Shape) -> nn.Module:
    """ReLU, with Keras's max_value, negative_slope and threshold."""
    most = None if keys.value("max_value", None) is None else keys.number("max_value")
    slope, threshold = keys.number("negative_slope", 0.0), keys.number("threshold", 0.0)
    if most is None and not slope and not threshold:
        return nn.ReLU()
    return Activate(Activation("relu", partial(activations.relu, most=most, slope=slope, threshold=threshold)))


def leaky_relu(keys: Keys, shape: Shape) -> nn.Module:
    """LeakyReLU; its slope is `negative_slope`, `alpha` in Keras 2."""
    return nn.LeakyReLU(keys.number("negative_slope", keys.number("alpha", 0.3)))


def elu(keys: Keys, shape: Shape) -> nn.Module:
    """ELU."""
    return nn.ELU(keys.number("alpha", 1.0))


def prelu(keys: Keys, shape: Shape) -> Made:
    """PReLU; its slopes have the shape of the input, with size 1 along `shared_axes`."""
    setting = keys.value("shared_axes", ())
    shared = [setting] if isinstance(setting, int) else setting
    if not isinstance(shared, list | tuple) or not all(number in range(1, len(shape) + 1) for number in shared):
        keys.wrong("shared_axes", f"does not fit an input of shape {shape}", got=setting)
    sizes = tuple(1 if place in shared else size for place, size in enumerate(shape, start=1))
    start = keys.initializer("alpha_initializer", "Zeros")
    return PRelu(stored(sizes)), {"alpha": Slot("alpha", sizes, _channels_first, start)}


def _channels_first(weights: Tensor) -> Tensor:
    return weights.movedim(-1, 0)


def thresholded_relu(keys: Keys, shape: Shape) -> nn.Module:
    """ThresholdedReLU of Keras 2: values not above `theta` become zero."""
    return nn.Threshold(keys.number("theta", 1.0), 0.0)


def softmax(keys: Keys, shape: Shape, logarithm: bool = False) -> nn.Module:
    """Softmax and Log_Softmax, over one or several axes."""
    setting = keys.value("axis", -1)
    listed = setting if isinstance(setting, list) else [setting]
    try:
        places = tuple(torch_axis(int(item), len(shape) + 1) for item in listed)
    except (IndexError, TypeError, ValueError):
        keys.wrong("axis", f"does not fit an input of shape {shape}", got=setting, fix="use -1")
    return Softmax(places, logarithm)


def activation(keys: Keys, shape: Shape) -> nn.Module:
    """Activation; some files include the axis of a softmax."""
    function = keys.function("activation")
    if function.name in ("softmax", "logsoftmax"):
        return softmax(keys, shape, function.name == "logsoftmax")
    keys.value("axis", -1)
    return Activate(function)


def named_activation(keys: Keys, shape: Shape) -> nn.Module:
    """A layer with the class name of an activation, such as Sigmoid, Tanh or Swish."""
    return Activate(activations.named(keys.kind, keys.place, keys.keras))


def _rate(keys: Keys) -> float:
    rate = keys.number("rate", 0.5)
    if not 0 <= rate <= 1:
        keys.wrong("rate", "must be between 0 and 1", got=rate)
    return rate
