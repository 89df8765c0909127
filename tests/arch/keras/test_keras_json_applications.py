"""Networks of keras.applications give what Keras gives; those with layers that are code are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe.arch.keras import keras_json
from mlpipe.errors import ConfigError
from tests.arch.keras.keras_oracle import both_agree, difference, loaded, randomise

import keras  # isort: skip

# The least size that each of them takes, or nearly so.
SLOW = {
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "MobileNet": 32,
    "MobileNetV3Small": 32,
    "DenseNet121": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
}


def application(name: str, size: int) -> object:
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=7)


@pytest.mark.program
def test_mobilenet_v2_of_both_versions(tmp_path: Path) -> None:
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=7, alpha=0.35)
    both_agree(model, tmp_path)


@pytest.mark.program
@pytest.mark.parametrize("name", SLOW)
def test_networks_of_keras(tmp_path: Path, name: str) -> None:
    model = application(name, SLOW[name])
    randomise(model)
    assert difference(model, loaded(model, tmp_path)) < 1e-5


@pytest.mark.program
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "InceptionResNetV2"])
def test_layers_that_keras_has_for_one_network_only_are_refused_by_name(name: str) -> None:
    model = application(name, 75)
    with pytest.raises(ConfigError, match="unknown layer class, got '"):
        keras_json.load(json.loads(model.to_json()))  # type: ignore[attr-defined]
