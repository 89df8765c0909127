"""The layers of Keras that a network may have, by their class names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from mlpipe.arch.keras.layers import activations, convolutions, merges, norms, pooling, shapes
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot

# Of one input.
_SINGLE: dict[str, Callable[..., Any]] = {
    "Dense": convolutions.dense,
    "BatchNormalization": norms.batch_norm,
    "InstanceNormalization": norms.instance_norm,
    "LayerNormalization": norms.layer_norm,
    "Normalization": norms.normalization,
    "Rescaling": shapes.rescale,
    "Dropout": shapes.dropout,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Permute": shapes.permute,
    "Activation": shapes.activation,
    "ReLU": shapes.relu,
    "LeakyReLU": shapes.leaky_relu,
    "ELU": shapes.elu,
    "Softmax": shapes.softmax,
    "Log_Softmax": partial(shapes.softmax, logarithm=True),
}
# By the name before the number of axes.
_NUMBERED: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "Conv": (convolutions.convolution, (1, 2, 3)),
    "DepthwiseConv": (convolutions.depthwise, (1, 2, 3)),
    "SeparableConv": (convolutions.separable, (1, 2)),
    "MaxPooling": (partial(pooling.pool, way="max"), (1, 2, 3)),
    "AveragePooling": (partial(pooling.pool, way="mean"), (1, 2, 3)),
    "GlobalMaxPooling": (partial(pooling.global_pool, way="max"), (1, 2, 3)),
    "GlobalAveragePooling": (partial(pooling.global_pool, way="mean"), (1, 2, 3)),
    "UpSampling": (shapes.upsample, (1, 2, 3)),
    "ZeroPadding": (shapes.pad, (1, 2, 3)),
    "Cropping": (shapes.crop, (1, 2, 3)),
    "SpatialDropout": (shapes.spatial_dropout, (1, 2, 3)),
}
_TABLE: dict[str, Callable[..., Any]] = {
    **_SINGLE,
    **{f"{name}{d}D": partial(build, dims=d) for name, (build, all_dims) in _NUMBERED.items() for d in all_dims},
    **{f"Conv{dims}DTranspose": partial(convolutions.transposed, dims=dims) for dims in (1, 2, 3)},
}
# Of several inputs.
_JOINING: dict[str, Callable[..., nn.Module]] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), merges.merge),
    "Concatenate": merges.concatenate,
}
# With an activation inside.
_ACTIVATED = {"Dense", *(kind for kind in _TABLE if "Conv" in kind)}
KINDS = (*_TABLE, *_JOINING)
_BY_LOWER = {kind.lower(): kind for kind in KINDS}
# Other words for parts of layers' names: Keras has `MaxPool2D`, `GlobalAvgPool1D`, `SeparableConvolution2D`, too.
_SYNONYMS = {
    "logsoftmax": "log_softmax", "avgpool(?!ing)": "averagepooling", "maxpool(?!ing)": "maxpooling", "convolution": "conv",
}  # fmt: skip


def known(kind: str) -> str:
    """The name of a class as this package has it; empty when it has none.

    Activations are layers, too: ReLU, Sigmoid, Tanh, Swish, in any case.
    """
    plain = kind.split(">")[-1]
    if plain in KINDS:
        return plain
    lower = plain.lower()
    for other, word in _SYNONYMS.items():
        lower = re.sub(other, word, lower)
    if lower in _BY_LOWER:
        return _BY_LOWER[lower]
    return plain if activations.canonical(plain) in activations.NAMES else ""


def is_joining(kind: str) -> bool:
    """Whether a layer takes several inputs."""
    return kind in _JOINING


def build(keys: Keys, inputs: Sequence[Shape]) -> tuple[nn.Module, dict[str, Slot], activations.Activation | None]:
    """A layer's module, where Keras's weights go in it, and the activation that follows it.

    Args:
        keys: Its configuration; its kind is a name that `known` gave.
        inputs: Shapes of what goes in.

    Raises:
        ConfigError: When the configuration is wrong, or does not fit the inputs.
    """
    if keys.kind in _JOINING:
        module, slots = _JOINING[keys.kind](keys, inputs), {}
    else:
        if len(inputs) != 1:
            keys.wrong("inbound_nodes", "must name one input", got=len(inputs), fix="join them with a merging layer")
        made = _TABLE.get(keys.kind, shapes.named_activation)(keys, inputs[0])
        module, slots = made if isinstance(made, tuple) else (made, {})
    follows = keys.activation() if keys.kind in _ACTIVATED else None
    keys.finish()
    return module, slots, follows
