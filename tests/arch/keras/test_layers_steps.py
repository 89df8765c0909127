"""Layers along steps, of whole numbers, of noise and of random views, against Keras itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras.classifier import output_and_activation
from mlpipe.arch.keras.layers.recurrent import ForgetBias
from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers.parameter_groups import undecayed
from tests.arch.keras.keras_oracle import as_keras_2, both_agree, difference, randomise

import keras  # isort: skip

L = keras.layers
STEPS = (5, 3)


def model_of(layer: Any, shape: tuple[int, ...]) -> Any:
    given = L.Input(shape)
    return keras.Model(given, layer(given))


RECURRENT = [
    {},
    {"return_sequences": True},
    {"go_backwards": True, "return_sequences": True},
    {"use_bias": False},
    {"activation": "relu", "dropout": 0.3, "recurrent_dropout": 0.2},
]
OF_GATES = [{"recurrent_activation": "hard_sigmoid", "activation": "softsign"}]


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, options) for kind in ("LSTM", "GRU", "SimpleRNN") for options in RECURRENT]
    + [(kind, options) for kind in ("LSTM", "GRU") for options in OF_GATES]
    + [("LSTM", {"unit_forget_bias": False}), ("GRU", {"reset_after": False})]
    + [("GRU", {"reset_after": False, "use_bias": False})],
    ids=str,
)  # fmt: skip
def test_recurrent_layers(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    model = model_of(getattr(L, kind)(4, **options), STEPS)
    if "recurrent_activation" in options:
        # hard_sigmoid is another function in Keras 2.
        randomise(model)
        assert _loaded_difference(model, tmp_path) < 1e-5
        return
    both_agree(model, tmp_path)


def _loaded_difference(model: Any, folder: Path, name: str = "network.weights.h5") -> float:
    path = folder / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    graph = keras_json.load(json.loads(model.to_json()))
    report = keras_json.load_weights(graph, path)
    assert not report.skipped and not report.mismatched and not report.unused, report.sentence()
    return difference(model, graph)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("options", [{}, {"merge_mode": "sum"}, {"merge_mode": "mul"}, {"merge_mode": "ave"}], ids=str)
@pytest.mark.parametrize("whole", [False, True])
def test_both_ways_of_a_recurrent_layer(tmp_path: Path, kind: str, options: dict[str, Any], whole: bool) -> None:
    layer = L.Bidirectional(getattr(L, kind)(4, return_sequences=whole), **options)
    model = model_of(layer, STEPS)
    both_agree(model, tmp_path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.LSTM(4),
        lambda: L.Bidirectional(L.GRU(4)),
        lambda: L.TimeDistributed(L.Dense(4, activation="relu")),
        lambda: L.PReLU(),
        lambda: L.TimeDistributed(keras.Sequential([L.Input((3,)), L.Dense(4), L.Dense(2)])),
    ],
    ids=["LSTM", "Bidirectional", "TimeDistributed", "PReLU", "a network at each step"],
)
def test_weights_of_the_old_format_are_found_too(tmp_path: Path, layer: Callable[[], Any]) -> None:
    model = model_of(layer(), STEPS)
    randomise(model)
    assert _loaded_difference(model, tmp_path, "network.h5") < 1e-5


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_of_the_old_format_are_found_in_networks_inside(tmp_path: Path) -> None:
    """Parts of layers have names of their own between the layer's and the weight's there."""
    within = L.Input(STEPS)
    both, at_each = L.Bidirectional(L.GRU(4, return_sequences=True)), L.TimeDistributed(L.Dense(3))
    inner = keras.Model(within, L.LSTM(2)(L.LSTM(4, return_sequences=True)(at_each(both(within)))))
    model = model_of(inner, STEPS)
    randomise(model)
    assert _loaded_difference(model, tmp_path, "network.h5") < 1e-5


def test_a_layer_with_other_units_backwards_and_states_that_are_given(tmp_path: Path) -> None:
    given = L.Input(STEPS)
    there, back = L.LSTM(4, return_state=True), L.LSTM(6, return_state=True, go_backwards=True)
    both = L.Bidirectional(there, backward_layer=back)(given)
    model = keras.Model(given, [*both, *L.GRU(2, return_state=True)(given)])
    randomise(model)
    assert len(model.outputs) == 7 and _loaded_difference(model, tmp_path) < 1e-5


def test_a_layer_or_a_network_at_each_step(tmp_path: Path) -> None:
    network = keras.Sequential([L.Input((6, 5, 2)), L.Conv2D(3, 2, activation="relu"), L.Flatten(), L.Dense(4)])
    for layer, shape in (
        (L.TimeDistributed(L.Dense(4, activation="tanh")), STEPS),
        (L.TimeDistributed(L.Conv2D(3, 3, padding="same")), (4, 6, 5, 2)),
        (L.TimeDistributed(L.Flatten()), (4, 6, 5, 2)),
        (L.TimeDistributed(L.Dense(4, activation="softmax")), (4, 6, 5, 2)),
        (L.TimeDistributed(L.Softmax()), STEPS),
        (L.TimeDistributed(network), (4, 6, 5, 2)),
    ):
        model = model_of(layer, shape)
        randomise(model)
        assert _loaded_difference(model, tmp_path) < 1e-5


def test_a_softmax_of_each_step_is_one_at_the_end() -> None:
    """What learns from logits takes it off, as behind a plain layer."""
    dense = {"class_name": "Dense", "config": {"units": 3, "activation": "softmax"}}
    for layer in (dense, {"class_name": "Activation", "config": {"activation": "softmax"}}):
        graph = keras_json.load([{"class_name": "TimeDistributed", "config": {"layer": layer}}], input_shapes=[STEPS])
        assert output_and_activation(graph)[1] == "softmax"


def test_new_weights_of_an_lstm_remember() -> None:
    layer = {
        "class_name": "LSTM",
        "config": {"units": 3, "bias_initializer": {"class_name": "Constant", "config": {"value": 2.0}}},
    }
    lstm: Any = next(keras_json.load([layer], input_shapes=[STEPS]).children())
    assert lstm.bias.tolist() == [2.0] * 3 + [1.0] * 3 + [2.0] * 6
    torch.testing.assert_close(lstm.recurrent.T @ lstm.recurrent, torch.eye(3), rtol=0, atol=1e-5)
    assert ForgetBias("zeros").draw((8,)).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_what_is_dropped_of_inputs_is_dropped_at_every_step(kind: str, implementation: int) -> None:
    config = {"units": 2, "dropout": 0.5, "implementation": implementation}
    config = {key: value for key, value in config.items() if key != "implementation" or kind != "SimpleRNN"}
    layer: Any = next(keras_json.load([{"class_name": kind, "config": config}], input_shapes=[(7, 400)]).children())
    with torch.no_grad():
        layer.weight.fill_(1.0)
        torch.manual_seed(0)
        given = layer.train()._projected(torch.ones(7, 1, 400))
    assert (given == given[:1]).all()
    # The mean stays; only with draws for each gate do gates differ.
    assert given.mean().item() == pytest.approx(400, rel=0.1)
    gates = given[0, 0].reshape(-1, 2)[:, 0]
    assert bool(((gates - gates[0]).abs() > 1).any()) is (implementation == 1 and kind != "SimpleRNN")


def test_states_are_dropped_in_training_only() -> None:
    config = {"units": 50, "recurrent_dropout": 0.5, "return_sequences": True}
    graph = keras_json.load([{"class_name": "GRU", "config": config}], input_shapes=[STEPS])
    x = torch.randn(4, 3, 5)
    assert not torch.equal(graph.train()(x), graph(x))
    assert torch.equal(graph.eval()(x), graph(x))
    # The first step has no state that could be dropped.
    torch.testing.assert_close(graph.train()(x)[..., 0], graph.eval()(x)[..., 0])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.PReLU(),
        lambda: L.PReLU(shared_axes=[1, 2]),
        lambda: L.PReLU(shared_axes=[3]),
        lambda: L.GroupNormalization(2),
        lambda: L.GroupNormalization(-1, epsilon=0.1),
        lambda: L.GroupNormalization(4, axis=1, scale=False),
        lambda: L.GroupNormalization(1, center=False),
        lambda: L.UnitNormalization(),
        lambda: L.UnitNormalization(axis=[1, 2]),
        lambda: L.RMSNormalization(),
        lambda: L.AdaptiveAveragePooling2D((3, 2)),
        lambda: L.AdaptiveMaxPooling2D(3),
        lambda: L.Identity(),
        lambda: L.ActivityRegularization(0.1, 0.2),
        lambda: L.GaussianNoise(0.3),
        lambda: L.GaussianDropout(0.3),
        lambda: L.AlphaDropout(0.3),
        lambda: L.Resizing(5, 9),
        lambda: L.Resizing(16, 3, interpolation="nearest"),
        lambda: L.RandomFlip("horizontal"),
        lambda: L.RandomRotation(0.1),
        lambda: L.RandomZoom(0.1),
        lambda: L.RandomTranslation(0.1, 0.2),
        lambda: L.RandomContrast(0.1),
    ],
)
def test_layers_of_maps(tmp_path: Path, layer: Callable[[], Any]) -> None:
    both_agree(model_of(layer(), (12, 10, 4)), tmp_path)


def test_rows_that_are_repeated_and_numbers_that_have_vectors(tmp_path: Path) -> None:
    both_agree(model_of(L.RepeatVector(3), (4,)), tmp_path)
    both_agree(model_of(L.GroupNormalization(2), (4,)), tmp_path)
    both_agree(model_of(L.PReLU(), (4,)), tmp_path)
    given = L.Input((6,))
    model = keras.Model(given, L.Embedding(9, 4)(L.Rescaling(4.4, offset=4.5)(given)))
    both_agree(model, tmp_path)
    # A list without an input says how long it is as Keras 2 does.
    layers = [{"class_name": "Embedding", "config": {"input_dim": 9, "output_dim": 4, "input_length": 6}}]
    assert keras_json.load(layers)(torch.zeros(2, 6)).shape == (2, 4, 6)


def test_vectors_of_numbers_do_not_decay() -> None:
    embedding = {"class_name": "Embedding", "config": {"name": "words", "input_dim": 9, "output_dim": 4}}
    lstm = {"class_name": "GRU", "config": {"name": "after", "units": 2}}
    graph = keras_json.load([embedding, lstm], input_shapes=[(6,)])
    assert undecayed(graph) == {"words.weight", "after.bias"}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([(5,), (5,)], 1),
        ([(5, 4), (6, 4)], -1),
        ([(5, 4), (5, 3)], 1),
        ([(5, 4), (4,)], (2, 1)),
        ([(5, 4), (4, 5)], (1, 2)),
    ],
)
def test_sums_of_products(tmp_path: Path, shapes: list[tuple[int, ...]], axes: Any, normalize: bool) -> None:
    inputs = [L.Input(shape) for shape in shapes]
    both_agree(keras.Model(inputs, L.Dot(axes, normalize=normalize)(inputs)), tmp_path)


def test_a_length_of_zero_has_a_gradient() -> None:
    graph = keras_json.load([{"class_name": "UnitNormalization", "config": {}}], input_shapes=[(3,)])
    x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]], requires_grad=True)
    found = graph(x)
    assert found.tolist()[0] == [0, 0, 0] and found.tolist()[1] == pytest.approx([0.6, 0.8, 0])
    found[1, 0].backward()
    # d(a / |x|) / dx = (1, 0, 0) / 5 - a x / 125.
    assert x.grad is not None and x.grad.tolist() == [[0, 0, 0], pytest.approx([0.128, -0.096, 0])]


def test_what_is_below_a_threshold_is_zero() -> None:
    graph = keras_json.load([{"class_name": "ThresholdedReLU", "config": {"theta": 0.5}}], input_shapes=[(4,)])
    assert graph(torch.tensor([[-1.0, 0.5, 0.6, 2.0]])).tolist() == [[0, 0, pytest.approx(0.6), 2]]


@pytest.mark.parametrize(
    ("kind", "config", "spread"),
    [
        ("GaussianNoise", {"stddev": 0.3}, 0.3),
        # Deviations of factors that dropout of this rate has, of twos.
        ("GaussianDropout", {"rate": 0.2}, 2 * 0.5),
    ],
)
def test_noise_in_training(kind: str, config: dict[str, Any], spread: float) -> None:
    graph = keras_json.load([{"class_name": kind, "config": config}], input_shapes=[(40_000,)])
    torch.manual_seed(0)
    found = graph.train()(torch.full((1, 40_000), 2.0))
    assert found.mean().item() == pytest.approx(2, abs=0.02) and found.std().item() == pytest.approx(spread, rel=0.02)


def test_dropout_for_selu_keeps_mean_and_variance() -> None:
    graph = keras_json.load([{"class_name": "AlphaDropout", "config": {"rate": 0.3}}], input_shapes=[(100_000,)])
    torch.manual_seed(0)
    x = torch.randn(1, 100_000)
    found = graph.train()(x)
    assert found.mean().item() == pytest.approx(0, abs=0.02) and found.std().item() == pytest.approx(1, abs=0.02)
    # A dropped value is the limit of selu, moved and scaled as the paper says.
    limit, kept = -1.7580993408473766, 0.7
    a = (kept * (1 + 0.3 * limit**2)) ** -0.5
    assert found.mode().values.item() == pytest.approx(a * limit * (1 - 0.3), rel=1e-4)


@pytest.mark.parametrize("fill", ["reflect", "constant", "nearest"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda fill: L.RandomRotation((0.07, 0.07), fill_mode=fill, fill_value=0.3),
        lambda fill: L.RandomZoom((0.3, 0.3), (-0.2, -0.2), fill_mode=fill, fill_value=0.3),
        lambda fill: L.RandomZoom((-0.3, -0.3), fill_mode=fill, interpolation="nearest"),
        lambda fill: L.RandomTranslation((0.25, 0.25), (-0.3, -0.3), fill_mode=fill),
    ],
    ids=["rotation", "zoom", "nearest zoom", "translation"],
)
def test_views_that_are_not_left_to_chance_are_those_of_keras(fill: str, layer: Callable[[str], Any]) -> None:
    model = model_of(layer(fill), (12, 9, 2))
    x = np.random.default_rng(0).uniform(0.2, 1, (3, 12, 9, 2)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(x, training=True))
    found = keras_json.load(json.loads(model.to_json())).train()(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1)
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5)


def test_contrast_is_about_the_mean_of_each_channel() -> None:
    config = {"factor": [-0.5, 0.5], "value_range": [0, 1]}
    graph = keras_json.load([{"class_name": "RandomContrast", "config": config}], input_shapes=[(8, 8, 3)])
    x = torch.rand(2, 3, 8, 8)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(graph.train()(x), (mean + 1.5 * (x - mean)).clamp(0, 1))


def test_flips_of_each_image() -> None:
    graph = keras_json.load([{"class_name": "RandomFlip", "config": {"mode": "horizontal"}}], input_shapes=[(4, 4, 1)])
    torch.manual_seed(0)
    x = torch.rand(400, 1, 4, 4)
    found = graph.train()(x)
    mirrored = (found == x.flip(3)).flatten(1).all(1)
    assert bool((mirrored | (found == x).flatten(1).all(1)).all()) and 160 < int(mirrored.sum()) < 240


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "LSTM", "config": {"units": 2}},
        {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Dense", "config": {"units": 2}}}},
        {"class_name": "Reshape", "config": {"target_shape": [3, 5]}},
    ],
    ids=lambda layer: str(layer["class_name"]),
)
def test_an_exported_network_takes_batches_of_any_size(layer: dict[str, Any]) -> None:
    graph = keras_json.load([layer], input_shapes=[STEPS]).eval()
    sizes = {"tensors": ({0: torch.export.Dim("images", min=1, max=64)},)}
    program = torch.export.export(graph, (torch.rand(2, 3, 5),), dynamic_shapes=sizes, strict=False)
    x = torch.rand(3, 3, 5)
    torch.testing.assert_close(program.module()(x), graph(x))


WRONG: list[tuple[str, dict[str, Any], tuple[int, ...], str]] = [
    ("LSTM", {"units": 3, "stateful": True}, STEPS, "stateful: is not supported, got True; use False"),
    ("LSTM", {"units": 3, "reset_after": True}, STEPS, "reset_after: unknown key"),
    ("GRU", {"units": 3, "dropout": 1.0}, STEPS, "dropout: must be from 0 up to, not including, 1, got 1.0"),
    ("LSTM", {"units": 3}, (4,), "needs an input of shape"),
    ("GRU", {"units": 3}, (10**8, 2), "input: has more than 20,000 steps, got (100000000, 2)"),
    ("Bidirectional", {"layer": {"class_name": "Dense", "config": {"units": 2}}}, STEPS,
     "layer: must be one of SimpleRNN, LSTM, GRU, got 'Dense'"),
    ("Bidirectional", {"layer": {"class_name": "LSMT", "config": {"units": 2}}}, STEPS, "did you mean 'LSTM'?"),
    ("Bidirectional", {"layer": {"class_name": "LSTM", "config": {"units": 2}}, "merge_mode": None}, STEPS, "merge_mode"),
    ("TimeDistributed", {"layer": {"class_name": "Dense", "config": {"units": 2}}}, (4,), "needs an input of shape"),
    ("TimeDistributed", {"layer": 3}, STEPS, "layer: is no layer, got 3"),
    ("Embedding", {"input_dim": 4, "output_dim": 2, "mask_zero": True}, (4, 2), "mask_zero: is for one number at each step"),
    ("Masking", {}, (4, 4, 2), "needs an input of shape (steps, channels)"),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2}, STEPS, "must name query and value, perhaps a key, got 1"),
    ("PReLU", {"shared_axes": [0]}, STEPS, "shared_axes: does not fit"),
    ("GroupNormalization", {"groups": 2}, STEPS, "groups: must divide 3 channels, or be -1, got 2"),
    ("GaussianNoise", {}, STEPS, "stddev: a value is needed"),
    ("RandomRotation", {"factor": 0.1, "fill_mode": "wrap"}, (4, 4, 1), "fill_mode: is not supported, got 'wrap'"),
    ("RepeatVector", {"n": 2}, STEPS, "needs an input of shape (features,)"),
    ("Resizing", {"height": 4, "width": 4, "crop_to_aspect_ratio": True}, (8, 8, 1), "crop_to_aspect_ratio: is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "shape", "wrong"), WRONG)
def test_what_cannot_be_had_is_said(kind: str, config: dict[str, Any], shape: tuple[int, ...], wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keras_json.load([{"class_name": kind, "config": config}], input_shapes=[shape])
    assert wrong in str(caught.value)


def test_keras_2_counts_a_network_at_each_step_alike(tmp_path: Path) -> None:
    model = model_of(L.TimeDistributed(L.Conv1D(3, 2)), (4, 6, 2))
    content = as_keras_2(json.loads(model.to_json()))
    assert keras_json.load(content)(torch.zeros(1, 2, 4, 6)).shape == (1, 3, 4, 5)
