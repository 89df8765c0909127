"""Keras's dense and convolutional layers as torch modules, plain ones where torch has the same padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.layout import first, padded, same_padding, with_channels_last
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot

Made = tuple[nn.Module, dict[str, Slot]]
Pads = tuple[tuple[int, int], ...]

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_PLAIN: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class PaddedConv(nn.Module):
    """A convolution with TensorFlow's padding.

    Args:
        weight: Shape (outputs, inputs / groups, kernel...).
        bias: Whether there is a bias.
        strides: Stride of each axis.
        dilation: Dilation of each axis.
        groups: Number of channel groups.
        pads: Zeros before and after each axis; None: `same`, which depends on the input size.
    """

    def __init__(
        self, weight: Tensor, bias: bool, strides: Shape, dilation: Shape, groups: int, pads: Pads | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(weight.shape[0])) if bias else None
        self.strides, self.dilation, self.groups, self.pads = strides, dilation, groups, pads
        self._convolve = _CONV[len(strides)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, shape (n, outputs, ...)."""
        pads: Sequence[tuple[int, int]] | None = self.pads
        if pads is None:
            kernel = self.weight.shape[2:]
            axes = zip(x.shape[2:], kernel, self.strides, self.dilation, strict=True)
            pads = [same_padding(*axis) for axis in axes]
        if all(before == after for before, after in pads):
            sides = [before for before, _ in pads]
        else:
            x, sides = padded(x, pads), [0] * len(pads)
        return self._convolve(x, self.weight, self.bias, self.strides, sides, self.dilation, self.groups)


class TransposedConv(nn.Module):
    """A transposed convolution with its output cropped by Keras's rules: `same` gives stride times the input size.

    Args:
        weight: Shape (inputs, outputs, kernel...).
        outputs: Number of output channels.
        bias: Whether there is a bias.
        strides: Stride of each axis.
        dilation: Dilation of each axis.
        crops: Amounts to crop before and after each axis; negative amounts add zeros.
    """

    def __init__(self, weight: Tensor, outputs: int, bias: bool, strides: Shape, dilation: Shape, crops: Pads) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.strides, self.dilation = strides, dilation
        # torch crops both sides equally; the difference is cropped or added separately.
        self.common = tuple(max(min(pair), 0) for pair in crops)
        self.rest = tuple((-(a - c), -(b - c)) for (a, b), c in zip(crops, self.common, strict=True))
        self._convolve = _TRANSPOSED[len(strides)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the transposed convolution, shape (n, outputs, ...)."""
        y = self._convolve(x, self.weight, None, self.strides, self.common, 0, 1, self.dilation)
        y = padded(y, self.rest)
        return y if self.bias is None else y + self.bias.view(-1, *[1] * len(self.strides))


class Separable(nn.Module):
    """A depthwise convolution followed by a pointwise (1 x 1) one.

    Args:
        depthwise: The depthwise convolution.
        pointwise: The pointwise convolution.
    """

    def __init__(self, depthwise: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class DenseOfMaps(nn.Linear):
    """A linear layer over the channels at each position."""

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, outputs, ...)."""
        return first(super().forward(with_channels_last(x)))


def transposed_kernel(kernel: Tensor) -> Tensor:
    """Return Keras's kernel with its last two axes moved to the front, in reverse order."""
    return kernel.movedim((-1, -2), (0, 1))


def spread(kernel: Tensor) -> Tensor:
    """Convert a depthwise kernel (k..., channels, multiplier) to torch's layout, (channels * multiplier, 1, k...)."""
    front = kernel.movedim((-2, -1), (0, 1))
    return front.reshape(-1, 1, *front.shape[2:])


def same(tensor: Tensor) -> Tensor:
    """Return the tensor unchanged."""
    return tensor


def dense(keys: Keys, shape: Shape) -> Made:
    """Dense, over the last axis, as in Keras."""
    units, bias = keys.count("units"), keys.flag("use_bias", True)
    module = (nn.Linear if len(shape) == 1 else DenseOfMaps)(shape[-1], units, bias=bias)
    slots = {
        "kernel": Slot(
            "weight", (shape[-1], units), transposed_kernel, keys.initializer("kernel_initializer", "GlorotUniform")
        )
    }
    return module, slots | _bias(keys, units, bias)


def convolution(keys: Keys, shape: Shape, dims: int) -> Made:
    """Conv1D, Conv2D, Conv3D."""
    inputs, filters, bias = keys.rank(shape, dims), keys.count("filters"), keys.flag("use_bias", True)
    kernel, strides, dilation, pads = _window(keys, dims)
    groups = keys.count("groups", 1)
    if inputs % groups or filters % groups:
        keys.wrong("groups", f"must divide {inputs} input channels and {filters} filters", got=groups)
    module = _conv(inputs, filters, kernel, strides, dilation, groups, bias, pads)
    start = keys.initializer("kernel_initializer", "GlorotUniform")
    return module, {"kernel": Slot("weight", (*kernel, inputs // groups, filters), transposed_kernel, start)} | _bias(
        keys, filters, bias
    )


def depthwise(keys: Keys, shape: Shape, dims: int) -> Made:
    """DepthwiseConv1D, DepthwiseConv2D, and a DepthwiseConv3D that Keras does not have."""
    inputs, bias = keys.rank(shape, dims), keys.flag("use_bias", True)
    multiplier = keys.count("depth_multiplier", 1)
    kernel, strides, dilation, pads = _window(keys, dims)
    keys.only("groups", 1)
    keys.only("filters")
    for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
        # Keras 2 also writes the kernel keys of the base class, which have no effect here.
        keys.value(key, "")
    outputs = inputs * multiplier
    module = _conv(inputs, outputs, kernel, strides, dilation, inputs, bias, pads)
    start = keys.initializer("depthwise_initializer", "GlorotUniform")
    kernels = Slot("weight", (*kernel, inputs, multiplier), spread, start)
    return module, {"depthwise_kernel": kernels, "kernel": kernels} | _bias(keys, outputs, bias)


def separable(keys: Keys, shape: Shape, dims: int) -> Made:
    """SeparableConv1D, SeparableConv2D."""
    inputs, filters, bias = keys.rank(shape, dims), keys.count("filters"), keys.flag("use_bias", True)
    multiplier = keys.count("depth_multiplier", 1)
    kernel, strides, dilation, pads = _window(keys, dims)
    keys.only("groups", 1)
    for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
        keys.value(key, "")
    middle, ones = inputs * multiplier, (1,) * dims
    module = Separable(
        _conv(inputs, middle, kernel, strides, dilation, inputs, False, pads),
        _conv(middle, filters, ones, ones, ones, 1, bias, ((0, 0),) * dims),
    )
    first_start = keys.initializer("depthwise_initializer", "GlorotUniform")
    second_start = keys.initializer("pointwise_initializer", "GlorotUniform")
    slots = {
        "depthwise_kernel": Slot("depthwise.weight", (*kernel, inputs, multiplier), spread, first_start),
        "pointwise_kernel": Slot("pointwise.weight", (*ones, middle, filters), transposed_kernel, second_start),
    }
    return module, slots | _bias(keys, filters, bias, "pointwise.bias")


def transposed(keys: Keys, shape: Shape, dims: int) -> Made:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""
    inputs, filters, bias = keys.rank(shape, dims), keys.count("filters"), keys.flag("use_bias", True)
    kernel = keys.sizes("kernel_size", dims)
    strides, dilation = keys.sizes("strides", dims, 1), keys.sizes("dilation_rate", dims, 1)
    keys.channels_last()
    keys.only("groups", 1)
    output_padding = keys.value("output_padding", False)
    extra = [None] * dims if output_padding is False else list(keys.sizes("output_padding", dims, least=0))
    padding = keys.value("padding", "valid")
    if isinstance(padding, str):
        mode = keys.choice("padding", ("valid", "same"), "valid")
        axes = zip(kernel, strides, dilation, extra, strict=True)
        crops: Pads = tuple(_crops(mode, *axis) for axis in axes)
    else:
        plain, more = keys.sizes("padding", dims, least=0), [item or 0 for item in extra]
        crops = tuple((amount, amount - added) for amount, added in zip(plain, more, strict=True))
    module = TransposedConv(torch.empty(inputs, filters, *kernel), filters, bias, strides, dilation, crops)
    start = keys.initializer("kernel_initializer", "GlorotUniform")
    return module, {"kernel": Slot("weight", (*kernel, filters, inputs), transposed_kernel, start)} | _bias(
        keys, filters, bias
    )


def _crops(mode: str, kernel: int, stride: int, dilation: int, extra: int | None) -> tuple[int, int]:
    """Return the values to crop at both ends of (length - 1) stride + kernel, by the rules of Keras's JAX backend."""
    field = (kernel - 1) * dilation + 1
    if mode == "valid":
        return 0, -(max(field, stride) - field if extra is None else extra)
    total = stride + field - 2 if extra is None else field + field % 2 - 2 + extra
    before = min(total // 2 + total % 2, field - 1)
    return field - 1 - before, field - 1 - (total - before)


def _window(keys: Keys, dims: int) -> tuple[Shape, Shape, Shape, Pads | None]:
    """Return kernel, strides, dilation, and the padding if it does not depend on the input size."""
    kernel = keys.sizes("kernel_size", dims)
    strides, dilation = keys.sizes("strides", dims, 1), keys.sizes("dilation_rate", dims, 1)
    keys.channels_last()
    if not isinstance(keys.value("padding", "valid"), str):
        plain = keys.sizes("padding", dims, least=0)
        return kernel, strides, dilation, tuple((amount, amount) for amount in plain)
    mode = keys.choice("padding", ("valid", "same", "causal") if dims == 1 else ("valid", "same"), "valid")
    fields = [(size - 1) * rate for size, rate in zip(kernel, dilation, strict=True)]
    if mode == "valid":
        return kernel, strides, dilation, ((0, 0),) * dims
    if mode == "causal":
        return kernel, strides, dilation, ((fields[0], 0),)
    if set(strides) == {1}:
        return kernel, strides, dilation, tuple((size // 2, size - size // 2) for size in fields)
    return kernel, strides, dilation, None


def _conv(
    inputs: int,
    outputs: int,
    kernel: Shape,
    strides: Shape,
    dilation: Shape,
    groups: int,
    bias: bool,
    pads: Pads | None,
) -> nn.Module:
    """Return a torch convolution if both sides have equal padding, else a `PaddedConv`."""
    if pads is not None and all(before == after for before, after in pads):
        sides: Any = tuple(before for before, _ in pads)
        plain: Any = _PLAIN[len(kernel)]
        module: nn.Module = plain(inputs, outputs, kernel, strides, sides, dilation, groups, bias)
        return module
    return PaddedConv(torch.empty(outputs, inputs // groups, *kernel), bias, strides, dilation, groups, pads)


def _bias(keys: Keys, outputs: int, has_bias: bool, tensor: str = "bias") -> dict[str, Slot]:
    start = keys.initializer("bias_initializer", "Zeros")
    return {"bias": Slot(tensor, (outputs,), same, start)} if has_bias else {}
