"""Weights by layers' names, written and loaded again; outputs as the file of a network gives them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras.classifier import KerasClassifier
from mlpipe.errors import DataError
from mlpipe.learn.callbacks.layer_files import every


def layers(activation: str, units: int, last: str = "out") -> list[dict[str, Any]]:
    return [
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 2, "kernel_size": 3,
                                            "batch_input_shape": [None, 6, 4, 1]}},
        {"class_name": "BatchNormalization", "config": {"name": "norm"}},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {"class_name": "Dense", "config": {"name": last, "units": units, "activation": activation}},
    ]  # fmt: skip


def network(activation: str, units: int, classes: int, **keys: Any) -> KerasClassifier:
    made = layers(activation, units, keys.pop("last", "out"))
    return keras_json.keras_json({"target": Head(classes)}, Pixels(1, 6, 1.0, width=4), layers=made, **keys).eval()


@pytest.mark.parametrize(
    ("activation", "units", "classes"), [("softmax", 3, 3), ("log_softmax", 3, 3), ("sigmoid", 1, 2), ("linear", 3, 3)]
)
def test_what_is_written_gives_the_same_network_again(
    tmp_path: Path, activation: str, units: int, classes: int
) -> None:
    trained = network(activation, units, classes)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.normal_()
    callback = every("val/loss", "min", folder=str(tmp_path / "ck" / "deep"), interval=2)
    for epoch in range(4):
        trainer: Any = SimpleNamespace(current_epoch=epoch, is_global_zero=True)
        callback.on_train_epoch_end(trainer, SimpleNamespace(network=trained))  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "ck" / "deep").iterdir()) == [
        "model_checkpoint_2.pt", "model_checkpoint_4.pt",
    ]  # fmt: skip
    file = tmp_path / "ck" / "deep" / "model_checkpoint_4.pt"
    state = torch.load(file, weights_only=True)
    assert {name.partition(".")[0] for name in state} == {"conv", "norm", "out"} and len(state["out.bias"]) == units
    again = network(activation, units, classes, weights=str(file), weights_by_layer=True)
    images = torch.rand(5, 1, 6, 4)
    with torch.no_grad():
        one, other = (net.as_in_file(net(images)["target"]) for net in (trained, again))
        # The network of the file itself, with its activation.
        whole = keras_json.load(layers(activation, units)).eval()
        whole.load_state_dict(state)
        assert torch.allclose(one, other, atol=1e-5) and torch.allclose(one, whole(images), atol=1e-5)


def test_what_the_file_lacks_is_named_and_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    state = network("softmax", 3, 3).by_layer()
    torch.save(state, file)
    part = network("softmax", 3, 3, last="other", weights=str(file), weights_by_layer=True)
    assert {name.partition("/")[0] for name in part.origin[0]} == {"conv", "norm"}
    assert part.origin[1] == ("other/weight", "other/bias")
    torch.save({"x.weight": torch.zeros(1)}, file)
    with pytest.raises(DataError, match="holds no layer of the network"):
        network("softmax", 3, 3, weights=str(file), weights_by_layer=True)
    torch.save({**state, "out.bias": torch.zeros(9)}, file)
    with pytest.raises(DataError, match=r"does not fit the network \(out\.bias\), .*; rename the layers"):
        network("softmax", 3, 3, weights=str(file), weights_by_layer=True)
