"""A Keras network that gives a map: the probabilities are Keras's own, and what is no map of classes is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.keras.keras_json import keras_json
from mlpipe.errors import ConfigError
from tests.arch.keras.keras_oracle import keras_outputs, randomise

import keras  # isort: skip

L = keras.layers
HEADS = {"target": Head(3, per_pixel=True)}


def network(units: int, activation: str) -> Any:
    """A small U-Net."""
    image = keras.Input((8, 8, 1))
    first = L.Conv2D(4, 3, padding="same", activation="relu")(image)
    below = L.Conv2D(6, 3, padding="same", activation="relu")(L.MaxPooling2D()(first))
    joined = L.Concatenate()([first, L.UpSampling2D()(below)])
    made = keras.Model(image, L.Conv2D(units, 1, activation=activation)(joined))
    randomise(made)
    return made


def conv(**config: Any) -> dict[str, Any]:
    return {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "padding": "same"} | config}


def outputs(layers: Any, classes: int = 3) -> torch.Tensor:
    made = keras_json({"target": Head(classes, per_pixel=True)}, Pixels(1, 8), layers=layers)
    with torch.no_grad():
        found: torch.Tensor = made(torch.zeros(2, 1, 8, 8))["target"]
    return found


@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (3, "log_softmax"), (1, "sigmoid")])
def test_the_probabilities_are_keras_s(units: int, activation: str, tmp_path: Any) -> None:
    theirs = network(units, activation)
    theirs.save_weights(tmp_path / "n.weights.h5")
    pixels = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    classes = max(units, 2)
    made = keras_json(
        {"target": Head(classes, per_pixel=True)},
        Pixels(1, 8),
        layers=theirs.to_json(),
        weights=str(tmp_path / "n.weights.h5"),
    ).eval()
    with torch.no_grad():
        found = made(torch.from_numpy(pixels).permute(0, 3, 1, 2) * 255)["target"].softmax(1)
    (wanted,) = keras_outputs(theirs, [pixels])
    in_file = made.as_in_file(made(torch.from_numpy(pixels).permute(0, 3, 1, 2) * 255)["target"]).detach()
    assert np.allclose(in_file.permute(0, 2, 3, 1).numpy(), wanted, atol=1e-4) and made.taken_off == 1
    wanted = np.exp(wanted) if activation == "log_softmax" else wanted
    wanted = np.concatenate([1 - wanted, wanted], axis=3) if units == 1 else wanted
    assert np.allclose(found.permute(0, 2, 3, 1).numpy(), wanted, atol=1e-5)


def test_a_single_map_that_ends_linear_is_the_logit_of_the_second_class(tmp_path: Any) -> None:
    theirs = network(1, "linear")
    theirs.save_weights(tmp_path / "n.weights.h5")
    pixels = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    made = keras_json(
        {"target": Head(2, per_pixel=True)},
        Pixels(1, 8),
        layers=theirs.to_json(),
        weights=str(tmp_path / "n.weights.h5"),
    ).eval()
    with torch.no_grad():
        found = made(torch.from_numpy(pixels).permute(0, 3, 1, 2) * 255)["target"]
    (wanted,) = keras_outputs(theirs, [pixels])
    assert made.taken_off == 0 and np.allclose(made.as_in_file(found)[:, 0].numpy(), wanted[..., 0], atol=1e-4)
    assert np.allclose(found.softmax(1)[:, 1].numpy(), 1 / (1 + np.exp(-wanted[..., 0])), atol=1e-5)


def test_a_list_of_layers() -> None:
    assert outputs([conv(activation="relu", filters=2), conv(activation="softmax")]).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([conv(), {"class_name": "Flatten", "config": {}}], "images are 8 x 8"),
        ([conv(padding="valid")], "images are 8 x 8"),
        ([conv(filters=4)], "gives 4 maps, the task has 3 classes"),
        ([conv(activation="sigmoid")], "ends in a sigmoid for each of 3 classes"),
    ],
)
def test_what_is_no_map_of_classes_is_refused(layers: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        outputs(layers)


def test_images_need_not_be_square() -> None:
    made = keras_json(HEADS, Pixels(1, 6, width=10), layers=[conv(batch_input_shape=[None, 6, 10, 1], name="c")])
    assert made(torch.zeros(2, 1, 6, 10))["target"].shape == (2, 3, 6, 10)
    assert set(made.by_layer()) == {"c.weight", "c.bias"}
    with pytest.raises(ConfigError, match="images are 6 x 10"):
        keras_json(HEADS, Pixels(1, 6, width=10), layers=[conv(padding="valid")])


def test_masks_are_learned_alone() -> None:
    with pytest.raises(ConfigError, match="masks and images are learned alone"):
        keras_json(HEADS | {"b": Head(2)}, Pixels(1, 8), layers=[conv()])
