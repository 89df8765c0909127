"""Random networks of all layers and options, in the words of Keras 2 and 3, give what Keras gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.arch.keras.keras_oracle import both_agree

import keras  # isort: skip

L = keras.layers
ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid", "swish", "elu", "softplus", "gelu", "softmax", "relu6"]


def even(shape: tuple[int, ...], kernel: int, stride: int) -> bool:
    """Whether the padding of `same` is the same on both sides, where Keras's torch backend has the mean right."""
    return all((max((-(-n // stride) - 1) * stride + kernel - n, 0)) % 2 == 0 for n in shape[:-1])


def layer_for(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """A layer that an input of this shape can go into."""
    dims = len(shape) - 1
    kernel, stride = rng.randint(1, min(4, *shape[:-1])), rng.choice([1, 1, 2])
    padding, activation = rng.choice(["same", "valid"]), rng.choice(ACTIVATIONS)
    bias, filters = rng.random() < 0.7, rng.choice([2, 3, 4, 6])
    common = {"activation": activation, "use_bias": bias, "padding": padding, "strides": stride}
    dilation = {"dilation_rate": 2, "strides": 1} if rng.random() < 0.2 and (kernel - 1) * 2 < min(shape[:-1]) else {}
    groups = rng.choice([g for g in (1, 2, 3) if shape[-1] % g == 0 and filters % g == 0])
    mean = {"padding": padding if even(shape, kernel, stride) else "valid"}
    choices: list[Callable[[], Any]] = [
        lambda: getattr(L, f"Conv{dims}D")(filters, kernel, groups=groups, **{**common, **dilation}),
        lambda: getattr(L, f"Conv{dims}DTranspose")(filters, kernel, **common),
        lambda: getattr(L, f"MaxPooling{dims}D")(kernel, stride, padding=padding),
        lambda: getattr(L, f"AveragePooling{dims}D")(kernel, stride, **mean),
        lambda: getattr(L, f"UpSampling{dims}D")(2),
        lambda: getattr(L, f"ZeroPadding{dims}D")(rng.randint(1, 2)),
        lambda: L.BatchNormalization(scale=rng.random() < 0.7, center=rng.random() < 0.7),
        lambda: L.LayerNormalization(),
        lambda: L.Activation(activation),
        lambda: L.ReLU(max_value=rng.choice([None, 1.0]), negative_slope=rng.choice([0.0, 0.2])),
        lambda: L.LeakyReLU(),
        lambda: L.Dropout(0.3),
        lambda: L.Dense(filters, activation=activation, use_bias=bias),
        lambda: L.Rescaling(0.5, 0.1),
        lambda: L.Permute(rng.sample(range(1, dims + 2), dims + 1)),
        lambda: L.Reshape((-1, *shape[1:])),
    ]
    if dims < 3:
        choices += [
            lambda: getattr(L, f"DepthwiseConv{dims}D")(kernel, depth_multiplier=rng.choice([1, 2]), **common),
            lambda: getattr(L, f"SeparableConv{dims}D")(filters, kernel, depth_multiplier=rng.choice([1, 2]), **common),
        ]
    if min(shape[:-1]) > 3:
        choices.append(lambda: getattr(L, f"Cropping{dims}D")(1))
    return rng.choice(choices)()


def network(seed: int) -> Any:
    """A random network: branches that meet again, layers used twice, a network inside, one output or two."""
    rng = random.Random(seed)
    dims = rng.choice([1, 2, 2, 2, 3])
    shape = tuple(rng.randint(5, 12 if dims < 3 else 7) for _ in range(dims))
    inputs = [L.Input((*shape, rng.choice([1, 2, 3, 4])))]
    tensors = list(inputs)
    for _ in range(rng.randint(4, 12)):
        x = rng.choice(tensors[-3:])
        known = tuple(x.shape[1:])
        if max(known) > 40 or len(known) != dims + 1 or min(known) < 1:
            continue
        alike = [other for other in tensors if other.shape == x.shape and other is not x]
        if alike and rng.random() < 0.6:
            kind = rng.choice(["Add", "Subtract", "Multiply", "Average", "Maximum", "Concatenate"])
            tensors.append(getattr(L, kind)()([x, rng.choice(alike)]))
        elif rng.random() < 0.15:
            inner = L.Input(known)
            model = keras.Model(inner, layer_for(rng, known)(inner))
            tensors.append(model(x))
        else:
            layer = layer_for(rng, known)
            tensors.append(layer(x))
            if tensors[-1].shape == x.shape and rng.random() < 0.4:
                tensors.append(layer(tensors[-1]))
    last = tensors[-1] if len(tensors) > 1 else L.Flatten()(tensors[-1])
    if rng.random() < 0.5 and len(last.shape) == dims + 2:
        flat = L.Flatten()(last) if rng.random() < 0.5 else getattr(L, f"GlobalAveragePooling{dims}D")()(last)
        last = L.Dense(3, activation=rng.choice(ACTIVATIONS))(flat)
    outputs = [last, tensors[len(tensors) // 2]] if rng.random() < 0.2 and len(tensors) > 4 else last
    return keras.Model(inputs, outputs)


def check(seed: int, folder: Path) -> None:
    model = network(seed)
    both_agree(model, folder, seed)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_many_random_networks(tmp_path: Path, block: int) -> None:
    for seed in range(100 + 40 * block, 140 + 40 * block):
        check(seed, tmp_path)
