"""A Keras network as an ordinary arch: logits of its probabilities, heads, pixels, weights, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlpipe.arch import weights
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.keras.classifier import KerasClassifier
from mlpipe.arch.keras.keras_json import keras_json
from mlpipe.errors import ConfigError, DataError
from tests.arch.keras.keras_oracle import keras_outputs, randomise

import keras  # isort: skip

L = keras.layers
PIXELS = Pixels(1, 8)


def chain(*ends: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"}},
        {"class_name": "Flatten", "config": {}},
        *ends,
    ]


def last(units: int, activation: str = "linear", name: str = "out") -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": units, "activation": activation}}


def built(layers: Any, classes: int = 3, pixels: Pixels = PIXELS, **options: Any) -> KerasClassifier:
    return keras_json({"label": Head(classes)}, pixels, layers=layers, **options)


ENDS = {
    "softmax": [last(3, "softmax")],
    "log_softmax": [last(3, "log_softmax")],
    "a layer of softmax": [last(3), {"class_name": "Softmax", "config": {}}],
    "a layer of log_softmax": [
        last(3),
        {"class_name": "Activation", "config": {"activation": "log_softmax_v2", "axis": 1}},
    ],
    "softmax after no Dense": [
        {"class_name": "Reshape", "config": {"target_shape": [1, 1, 144]}},
        {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 1}},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {"class_name": "Activation", "config": {"activation": "softmax"}},
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_logits_have_the_probabilities_of_the_network(tmp_path: Path, end: str) -> None:
    layers = chain(*ENDS[end])
    network = built(layers).eval()
    pixels = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    logits = network(pixels)["label"]
    # The same weights in the network as the file has it.
    from mlpipe.arch.keras import keras_json as module

    whole = module.load(layers, input_shapes=[(8, 8, 1)]).eval()
    state = {name.removeprefix("backbone."): tensor for name, tensor in network.state_dict().items()}
    state |= {
        f"out.{name}": state[f"heads.label.{name}"] for name in ("weight", "bias") if f"heads.label.{name}" in state
    }
    whole.load_state_dict({name: state[name] for name in whole.state_dict()})
    given = whole(pixels.float() / 255)
    wanted = given.exp() if "log" in end else given
    torch.testing.assert_close(logits.softmax(1), wanted)
    if "log" in end:
        torch.testing.assert_close(logits, given)
    assert isinstance(network.heads["label"], nn.Identity if "no Dense" in end else nn.Linear)


def test_one_sigmoid_is_a_softmax_of_two() -> None:
    layers = chain(last(1, "sigmoid"))
    torch.manual_seed(2)
    network = built(layers, 2).eval()
    from mlpipe.arch.keras import keras_json as module

    torch.manual_seed(2)
    whole = module.load(layers, input_shapes=[(8, 8, 1)]).eval()
    pixels = torch.rand(5, 1, 8, 8) * 255
    torch.testing.assert_close(network(pixels)["label"].softmax(1)[:, 1], whole(pixels / 255)[:, 0])
    torch.manual_seed(2)
    labels = built(layers, 1).eval()
    torch.testing.assert_close(labels(pixels)["label"].sigmoid(), whole(pixels / 255))


def test_a_single_unit_learns_as_its_sigmoid_does() -> None:
    torch.manual_seed(0)
    network = built(chain(last(1, "sigmoid")), 2)
    own = nn.Linear(144, 1)
    own.load_state_dict(network.heads["label"].state_dict())
    assert [parameter.shape for parameter in network.heads["label"].parameters()] == [(1, 144), (1,)]
    assert set(network.by_layer()) == {"conv.weight", "conv.bias", "out.weight", "out.bias"}
    pixels, target = torch.rand(6, 1, 8, 8) * 255, torch.tensor([0, 1, 1, 0, 1, 0])
    nn.functional.cross_entropy(network(pixels)["label"], target).backward()
    features = network.backbone(pixels / 255).detach()
    nn.functional.binary_cross_entropy(own(features).sigmoid()[:, 0], target.float()).backward()
    torch.testing.assert_close(network.heads["label"].weight.grad, own.weight.grad)
    assert network.heads["label"].out_features == 2


@pytest.mark.parametrize(("peak", "white"), [(255.0, 1.0), (65535.0, 1.0), (1.0, 255.0)])
def test_pixels_are_scaled_to_what_the_network_takes_as_white(peak: float, white: float) -> None:
    network = built(chain(last(3)), pixels=Pixels(1, 8, peak), white=white)
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(torch.full((1, 1, 8, 8), peak))
    torch.testing.assert_close(seen[0], torch.full((1, 1, 8, 8), white))


def test_numbers_and_further_heads() -> None:
    heads = {"age": Head(1, (40.0,), (10.0,)), "kind": Head(4)}
    network = keras_json(heads, PIXELS, layers=chain(last(1)))
    found = network(torch.zeros(2, 1, 8, 8))
    assert found["kind"].shape == (2, 4) and found["age"].shape == (2, 1) and (found["age"] - 40).abs().max() < 20
    with pytest.raises(ConfigError, match="out ends in softmax, which gives no numbers; end it in a linear layer"):
        keras_json({"age": Head(1, (40.0,), (10.0,))}, PIXELS, layers=chain(last(1, "softmax")))
    with pytest.raises(ConfigError, match="has no features for further heads, got 'flatten_1'; end it in a Dense"):
        keras_json({"label": Head(144), "kind": Head(4)}, PIXELS, layers=chain({"class_name": "Flatten", "config": {}}))


@pytest.mark.parametrize("end", ["sigmoid", "softmax", "linear"])
def test_numbers_without_a_scale_are_what_the_file_gives(end: str) -> None:
    network = keras_json({"label": Head(3, (0.0,) * 3, (1.0,) * 3)}, PIXELS, layers=chain(last(3, end)))
    given = network(torch.rand(4, 1, 8, 8) * 255)["label"].detach()
    assert torch.equal(network.as_in_file(given), given)
    if end == "softmax":
        torch.testing.assert_close(given.sum(1), torch.ones(4))
    assert bool(((given > 0) & (given < 1)).all()) == (end != "linear")


def test_freezing_leaves_the_last_dense() -> None:
    network = built(chain(last(3, "softmax")), freeze=True)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "heads.label.weight",
        "heads.label.bias",
    }
    with pytest.raises(ConfigError, match=r"arch\.freeze: leaves nothing to learn"):
        built(chain(*ENDS["softmax after no Dense"]), freeze="backbone")
    frozen = [{**layer, "config": {**layer["config"], "trainable": False}} for layer in chain(last(3))]
    with pytest.raises(ConfigError, match="no layer learns"):
        built(frozen)


def test_weights_of_keras_and_of_records(tmp_path: Path) -> None:
    model = keras.Sequential(
        [L.Input((8, 8, 1)), L.Conv2D(4, 3, name="conv"), L.Flatten(), L.Dense(3, "softmax", name="out")]
    )
    randomise(model)
    model.save_weights(tmp_path / "w.weights.h5")
    content = json.loads(model.to_json())
    network = built(content, weights=str(tmp_path / "w.weights.h5")).eval()
    x = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1)).astype(np.float32)
    found = network(torch.from_numpy(x).movedim(-1, 1))["label"].softmax(1).detach().numpy()
    np.testing.assert_allclose(found, keras_outputs(model, [x / 255])[0], rtol=1e-4, atol=1e-6)
    weights.save(network.state_dict(), tmp_path / "record.safetensors")
    again = built(content, weights=str(tmp_path / "record.safetensors"))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    for name, layers, sentence in (
        ("w.weights.h5", chain(last(4, name="out")), r"out/kernel: \(144, 3\) in the file, \(144, 4\) in the network"),
        ("w.weights.h5", [chain()[1], last(3, name="other")], "holds no layer of the network"),
        ("record.safetensors", [chain()[1], last(3)], "does not fit the network"),
    ):
        with pytest.raises(DataError, match=sentence):
            built(
                layers,
                len(layers) + 1 if name == "record.safetensors" else 4 if len(layers) == 3 else 3,
                weights=str(tmp_path / name),
            )


def test_a_convolutional_network_takes_images_of_any_size() -> None:
    convolution = {"name": "conv", "filters": 4, "kernel_size": 3, "batch_input_shape": [None, 28, 28, 1]}
    regularized = {**convolution, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}}
    pooling = {"class_name": "GlobalAveragePooling2D", "config": {}}
    for config in (convolution, regularized):
        network = built([{"class_name": "Conv2D", "config": config}, pooling, last(3)])
        assert network.eval()(torch.rand(2, 1, 8, 8))["label"].shape == (2, 3)
    # As many weights as pixels.
    with pytest.raises(ConfigError, match=r"takes images of 28 x 28, these are 8 x 8"):
        built([{"class_name": "Conv2D", "config": convolution}, {"class_name": "Flatten", "config": {}}, last(3)])
    # Two axes are no three, and one channel is not three, whatever the size.
    with pytest.raises(ConfigError, match=r"takes images of 1 channels, the task's have 3"):
        built([{"class_name": "Conv2D", "config": convolution}, pooling, last(3)], pixels=Pixels(3, 8))


WRONG = [
    (chain(last(10, "softmax")), r"out gives 10 outputs, the task has 3 classes; set its units \(or filters\) to 3"),
    (chain()[:1], r"conv gives \(6, 6, 4\), no row of outputs; end it in Flatten or global pooling, and Dense"),
    ([{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1]}}, *chain(last(3))],
     r"preprocessing\.size: Unknown takes images of 28 x 28, these are 8 x 8, got 8; set it to 28"),
    ([{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3]}}, *chain(last(3))],
     r"takes images of 3 channels, the task's have 1, got \(8, 8, 3\); set the last number of the input's shape to 1"),
    ([{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 64]}}, last(3)], "takes no images, got"),
    ([{"class_name": "InputLayer", "config": {}}], "Unknown learns nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "sentence"), WRONG)
def test_what_does_not_fit_the_task(layers: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        built(layers)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"arch\.pretrained: a network from a file has no weights to be downloaded"):
        built(chain(last(3)), pretrained=True)
    with pytest.raises(ConfigError, match=r"arch\.file: a value is needed"):
        built(None)
    with pytest.raises(ConfigError, match=r"arch\.file: is not JSON"):
        built("[")
    (tmp_path / "net.json").write_text(json.dumps(chain(last(3))))
    assert keras_json({"label": Head(3)}, PIXELS, file=str(tmp_path / "net.json"))(torch.zeros(1, 1, 8, 8))[
        "label"
    ].shape == (1, 3)
