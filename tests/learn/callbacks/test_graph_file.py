"""The drawing of a network, with all of its layers, and what has none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.keras import keras_json
from mlpipe.errors import ConfigError
from mlpipe.learn.callbacks.graph_file import once

LAYERS: list[dict[str, Any]] = [
    {"class_name": "Conv2D", "config": {"name": "maps", "filters": 2, "kernel_size": 1, "activation": "softmax"}},
    {"class_name": "Flatten", "config": {"name": "flat"}},
    {"class_name": "Dense", "config": {"name": "out", "units": 3, "activation": "softmax"}},
]


@pytest.mark.parametrize("layers", [LAYERS, LAYERS[:1]])
def test_the_whole_network_is_drawn(tmp_path: Path, layers: list[dict[str, Any]]) -> None:
    wanted = Head(2, per_pixel=True) if len(layers) == 1 else Head(3)
    network = keras_json.keras_json({"target": wanted}, Pixels(1, 6), layers=layers)
    callback = once("val/loss", "min", file=str(tmp_path / "deep" / "net.dot"))
    trainer: Any = SimpleNamespace(is_global_zero=True)
    callback.on_fit_start(trainer, SimpleNamespace(network=network))  # type: ignore[arg-type]
    text = (tmp_path / "deep" / "net.dot").read_text()
    assert text == keras_json.dot(keras_json.load(layers, input_shapes=[(6, 6, 1)]))
    assert all(layer["config"]["name"] in text for layer in layers) and "softmax" in text


def test_other_networks_have_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="draws networks of arch=keras_json"):
        once("val/loss", "min").on_fit_start(SimpleNamespace(), SimpleNamespace(network=nn.Identity()))  # type: ignore[arg-type]
