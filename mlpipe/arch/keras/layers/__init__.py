"""The supported layers of Keras, by class name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from mlpipe.arch.keras.layers import (
    activations,
    attention,
    conv_recurrent,
    convolutions,
    embeddings,
    masks,
    merges,
    noise,
    norms,
    pooling,
    recurrent,
    shapes,
    views,
)
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot
from mlpipe.errors import did_you_mean

# Image layers, which Keras calls with `training=True` when it builds a network, but in the network's mode later.
OF_IMAGES = ("Resizing", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast")
# The wrapper that may contain a whole network.
STEPS = "TimeDistributed"
# Layers with one input.
_SINGLE: dict[str, Callable[..., Any]] = {
    "Dense": convolutions.dense,
    "BatchNormalization": norms.batch_norm,
    "InstanceNormalization": norms.instance_norm,
    "LayerNormalization": norms.layer_norm,
    "GroupNormalization": norms.group_norm,
    "RMSNormalization": norms.rms_norm,
    "UnitNormalization": norms.unit_norm,
    "Normalization": norms.normalization,
    "Rescaling": shapes.rescale,
    "Resizing": views.resize,
    "RandomFlip": views.flip,
    "RandomRotation": views.rotation,
    "RandomZoom": views.zoom,
    "RandomTranslation": views.translation,
    "RandomContrast": views.contrast,
    "Dropout": shapes.dropout,
    "GaussianNoise": noise.gaussian_noise,
    "GaussianDropout": noise.gaussian_dropout,
    "AlphaDropout": noise.alpha_dropout,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Permute": shapes.permute,
    "RepeatVector": shapes.repeat,
    "Embedding": embeddings.embedding,
    "Masking": masks.masking,
    "Identity": shapes.identity,
    "ActivityRegularization": shapes.identity,
    "Activation": shapes.activation,
    "ReLU": shapes.relu,
    "LeakyReLU": shapes.leaky_relu,
    "ELU": shapes.elu,
    "PReLU": shapes.prelu,
    "ThresholdedReLU": shapes.thresholded_relu,
    "Softmax": shapes.softmax,
    "Log_Softmax": partial(shapes.softmax, logarithm=True),
}
# Layers by the name before the number of axes.
_NUMBERED: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "Conv": (convolutions.convolution, (1, 2, 3)),
    "DepthwiseConv": (convolutions.depthwise, (1, 2, 3)),
    "SeparableConv": (convolutions.separable, (1, 2)),
    "MaxPooling": (partial(pooling.pool, way="max"), (1, 2, 3)),
    "AveragePooling": (partial(pooling.pool, way="mean"), (1, 2, 3)),
    "GlobalMaxPooling": (partial(pooling.global_pool, way="max"), (1, 2, 3)),
    "GlobalAveragePooling": (partial(pooling.global_pool, way="mean"), (1, 2, 3)),
    "AdaptiveMaxPooling": (partial(pooling.adaptive_pool, way="max"), (1, 2, 3)),
    "AdaptiveAveragePooling": (partial(pooling.adaptive_pool, way="mean"), (1, 2, 3)),
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
# Layers with several inputs.
_JOINING: dict[str, Callable[..., nn.Module]] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), merges.merge),
    "Concatenate": merges.concatenate,
    "Dot": merges.dot,
}
# Layers with named inputs: given by name in a call, or by position, in this order.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("MultiHeadAttention", "Attention", "AdditiveAttention"), ("query", "value", "key")),
    **dict.fromkeys(
        (*recurrent.LAYERS, "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional"), ("sequences", "initial_state")
    ),
}
# Arguments of a call that its layer is built with.
FLAGS = dict.fromkeys(
    ("MultiHeadAttention", "Attention", "AdditiveAttention"), ("use_causal_mask", "return_attention_scores")
)
_SEVERAL: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(recurrent.LAYERS, recurrent.recurrent),
    **{f"ConvLSTM{dims}D": partial(conv_recurrent.conv_lstm, dims=dims) for dims in (1, 2, 3)},
    "MultiHeadAttention": attention.multi_head,
    **dict.fromkeys(("Attention", "AdditiveAttention"), attention.attention),
}
# Wrappers of another layer.
_AROUND: dict[str, Callable[..., Any]] = {"Bidirectional": recurrent.bidirectional, STEPS: recurrent.time_distributed}
# Layers with an activation.
_ACTIVATED = {"Dense", *(kind for kind in _TABLE if "Conv" in kind)}
KINDS = (*_TABLE, *_JOINING, *_SEVERAL, *_AROUND)
_BY_LOWER = {kind.lower(): kind for kind in KINDS}
# Synonyms for parts of layer names: Keras also has `MaxPool2D`, `GlobalAvgPool1D`, `SeparableConvolution2D`.
_SYNONYMS = {
    "logsoftmax": "log_softmax", "avgpool(?!ing)": "averagepooling", "maxpool(?!ing)": "maxpooling", "convolution": "conv",
}  # fmt: skip


def known(kind: str) -> str:
    """Return the name of a class in this package; empty if it is not supported.

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
    """Return whether a layer takes several inputs."""
    return kind in _JOINING


def build(keys: Keys, inputs: Sequence[Shape]) -> tuple[nn.Module, dict[str, Slot], activations.Activation | None]:
    """Return a layer's module, the destinations of Keras's weights in it, and the activation that follows it.

    Args:
        keys: Its configuration; its kind is a name returned by `known`.
        inputs: Shapes of the inputs.

    Raises:
        ConfigError: When the configuration is wrong, or does not fit the inputs.
    """
    follows: activations.Activation | None = None
    if keys.kind in _JOINING:
        module, slots = _JOINING[keys.kind](keys, inputs), {}
    elif keys.kind in _SEVERAL:
        module, slots = _SEVERAL[keys.kind](keys, inputs)
    elif keys.kind in ARGUMENTS:
        module, slots = _AROUND[keys.kind](keys, inputs, partial(_inner_layer, keys))
    else:
        if len(inputs) != 1:
            keys.wrong("inbound_nodes", "must name one input", got=len(inputs), fix="join them with a merging layer")
        if keys.kind in _AROUND:
            result = _AROUND[keys.kind](keys, inputs[0], partial(_inner_layer, keys))
        else:
            result = _TABLE.get(keys.kind, shapes.named_activation)(keys, inputs[0])
        module, slots, *ending = result if isinstance(result, tuple) else (result, {})
        follows = ending[0] if ending else None
    follows = keys.activation() if keys.kind in _ACTIVATED else follows
    keys.finish()
    return module, slots, follows


def _inner_layer(
    keys: Keys, key: str, node: Any, shape: Shape
) -> tuple[nn.Module, dict[str, Slot], activations.Activation | None]:
    """Build the layer inside a wrapper."""
    class_name = node.get("class_name") if isinstance(node, Mapping) else None
    config = node.get("config", {}) if isinstance(node, Mapping) else None
    if not isinstance(class_name, str) or not isinstance(config, Mapping):
        keys.wrong(key, "is no layer", got=node, fix="write {class_name: ..., config: {...}}")
    kind = known(class_name)
    if not kind or is_joining(kind):
        near = did_you_mean(class_name, KINDS, otherwise="docs/from_rmldnn.md lists the layers")
        keys.wrong(key, "unknown layer class", got=class_name, fix=near)
    return build(Keys(f"{keys.layer}: {config.get('name') or key}", kind, config, keys.keras), [shape])
