"""`sequential_from_config` against Keras's own layers, and its parameters in braces."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from mlpipe.arch.sequential import rendered, sequential_from_config
from mlpipe.errors import ConfigError

IMAGES = [
    {"import": "Input", "params": {"shape": [8, 6, 2], "name": "image"}},
    {"import": "Conv2D", "params": {"filters": 3, "kernel_size": 3, "activation": "relu", "padding": "same"}},
    {"import": "MaxPooling2D"},
    {"import": "tensorflow.keras.layers.Flatten"},
    {"import": "Dense", "params": {"units": "{{classes}}", "activation": "softmax", "name": "digit"}},
]


def test_layers_give_what_keras_gives_for_arrays_with_channels_last() -> None:
    ours = sequential_from_config(IMAGES, classes=4).eval()
    assert ours.output_names == ["digit"]
    theirs = keras.Sequential(
        [
            keras.layers.Input((8, 6, 2)),
            keras.layers.Conv2D(3, 3, activation="relu", padding="same"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    state = {name: value.detach().numpy() for name, value in ours.state_dict().items()}
    kernel, bias, matrix, offset = list(state.values())
    theirs.set_weights([kernel.transpose(2, 3, 1, 0), bias, matrix.T, offset])
    values = np.random.default_rng(0).normal(size=(5, 8, 6, 2)).astype(np.float32)
    with torch.no_grad():
        found = ours(torch.tensor(values)).numpy()
    assert found == pytest.approx(keras.ops.convert_to_numpy(theirs(values)), rel=1e-4, abs=1e-6)


def test_the_shape_of_an_input_may_be_a_number_or_stand_on_the_first_layer() -> None:
    dense = {"import": "Dense", "params": {"units": 2}}
    for layers in (
        [{"import": "Input", "params": {"shape": 3}}, dense],
        [{"import": "Dense", "params": {"units": 2, "input_shape": [3]}}],
        [{"import": "tensorflow.python.keras.layers.core.Dense", "params": {"units": 2, "input_shape": [3]}}],
    ):
        assert sequential_from_config(layers)(torch.zeros(4, 3)).shape == (4, 2)


def test_layers_have_every_name_that_keras_has_for_them() -> None:
    layers = [
        {"import": "Input", "params": {"shape": [8, 8, 3]}},
        {"import": "tf.keras.layers.MaxPool2D"},
        {"import": "tensorflow.keras.layers.GlobalAvgPool2D"},
        {"import": "ReLU"},
        {"import": "Sequential", "params": {"layers": [{"class_name": "Dense", "config": {"units": 2}}]}},
    ]
    assert sequential_from_config(layers)(torch.zeros(4, 8, 8, 3)).shape == (4, 2)


def test_braces_become_parameters_of_their_type_and_the_given_list_stays() -> None:
    given = [{"a": "{{n}}", "b": ["{{n}}", "{{other}}", "x{{n}}", {"c": "{{list}}"}]}]
    found = rendered(given, {"n": 3, "list": [1], "not used": 0})
    assert found == [{"a": 3, "b": [3, "{{other}}", "x{{n}}", {"c": [1]}]}]
    assert given[0]["a"] == "{{n}}"


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], r"layers: must be a list of layers"),
        ([{"params": {}}], r"layers\[0\]: has no import"),
        ([{"import": "Dense", "param": {}}], r"layers\[0\]\.param: unknown key"),
        ([{"import": "tensorflow.keras.layers2.Dense"}], r"layers\[0\]\.import: is no layer of Keras"),
        ([{"import": "my.Layer"}], r"layers\[0\]\.import: is no layer of Keras, got 'my.Layer'"),
        ([{"import": "Input", "params": {"shape": 3}}, {"import": "Dens", "params": {"units": 2}}],
         r"layers\[1\]\.import: there is no such layer here, got 'Dens'; did you mean 'Dense'\?; or write a function"),
        ([{"import": "Hashing", "params": {}}], r"layers\[0\]\.import: there is no such layer.*a function that returns"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_layers(layers: list[Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        sequential_from_config(layers)
