"""Attention, memories of maps, states that are given and steps that count for nothing, against Keras itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch.keras import keras_json
from mlpipe.errors import ConfigError
from tests.arch.keras.keras_oracle import keras_outputs, our_outputs, randomise

import keras  # isort: skip

L = keras.layers
STEPS = (6, 3)


def agree(model: Any, folder: Path, given: list[np.ndarray], content: Any = None, name: str = "n.weights.h5") -> None:
    """Assert that our network of a model's JSON gives what the model gives."""
    randomise(model)
    path = folder / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    graph = keras_json.load(json.loads(model.to_json()) if content is None else content)
    report = keras_json.load_weights(graph, path)
    assert not report.skipped and not report.mismatched and not report.unused, report.sentence()
    for wanted, found in zip(keras_outputs(model, given), our_outputs(graph, given), strict=True):
        assert wanted.shape == found.shape
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, *shape)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["n.weights.h5", "n.h5"])
@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"num_heads": 2, "key_dim": 4}, {}),
        ({"num_heads": 3, "key_dim": 2, "value_dim": 5, "output_shape": 4, "dropout": 0.2}, {}),
        ({"num_heads": 2, "key_dim": 3, "use_bias": False}, {"use_causal_mask": True}),
    ],
    ids=str,
)
def test_attention_in_heads(tmp_path: Path, options: dict[str, Any], called: dict[str, bool], name: str) -> None:
    given = L.Input(STEPS)
    model = keras.Model(given, L.MultiHeadAttention(**options)(given, given, **called))
    agree(model, tmp_path, [numbers(*STEPS)], name=name)


def test_attention_of_one_sequence_to_another(tmp_path: Path) -> None:
    query, value, key = L.Input((4, 3)), L.Input((7, 5)), L.Input((7, 2))
    found = L.MultiHeadAttention(2, 3)(query, value, key=key)
    model = keras.Model([query, value, key], found)
    agree(model, tmp_path, [numbers(4, 3), numbers(7, 5), numbers(7, 2)])


def test_attention_as_keras_2_wrote_it(tmp_path: Path) -> None:
    """There the value, and a key, are among the words of the call."""
    given = L.Input(STEPS, name="i")
    model = keras.Model(given, L.MultiHeadAttention(2, 4, name="a")(given, given, given))
    config = {"name": "a", "num_heads": 2, "key_dim": 4, "value_dim": 4, "use_bias": True, "output_shape": None}
    config |= {"query_shape": [None, *STEPS], "key_shape": [None, *STEPS], "value_shape": [None, *STEPS]}
    called = [["i", 0, 0, {"value": ["i", 0, 0], "key": ["i", 0, 0]}]]
    layers = [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, *STEPS]}, "inbound_nodes": []},
        {"class_name": "MultiHeadAttention", "config": {**config, "attention_axes": [1]}, "inbound_nodes": [called]},
    ]
    content = {
        "class_name": "Functional",
        "config": {"name": "n", "layers": layers, "input_layers": [["i", 0, 0]], "output_layers": [["a", 0, 0]]},
        "keras_version": "2.11.0",
    }
    agree(model, tmp_path, [numbers(*STEPS)], content)


@pytest.mark.parametrize(
    "layer",
    [
        L.Attention,
        lambda: L.Attention(use_scale=True),
        lambda: L.Attention(score_mode="concat"),
        L.AdditiveAttention,
    ],
    ids=["dot", "scale", "concat", "additive"],
)
def test_attention_without_heads(tmp_path: Path, layer: Any) -> None:
    query, value = L.Input((4, 3)), L.Input((7, 3))
    model = keras.Model([query, value], layer()([query, value]))
    agree(model, tmp_path, [numbers(4, 3), numbers(7, 3)])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_states_that_are_given(tmp_path: Path, kind: str) -> None:
    """Such as those that another layer returns: an encoder and a decoder."""
    given, later = L.Input(STEPS), L.Input((4, 2))
    _, *states = getattr(L, kind)(5, return_state=True)(given)
    found = getattr(L, kind)(5, return_sequences=True)(later, initial_state=states)
    agree(keras.Model([given, later], found), tmp_path, [numbers(*STEPS), numbers(4, 2, seed=1)])


def test_states_of_both_ways_that_are_given(tmp_path: Path) -> None:
    given, later = L.Input(STEPS), L.Input((4, 2))
    _, *states = L.Bidirectional(L.LSTM(5, return_state=True))(given)
    found = L.Bidirectional(L.LSTM(5))(later, initial_state=states)
    agree(keras.Model([given, later], found), tmp_path, [numbers(*STEPS), numbers(4, 2, seed=1)])


def test_states_of_another_size_are_refused() -> None:
    given, later = L.Input(STEPS), L.Input((4, 2))
    _, *states = L.LSTM(5, return_state=True)(given)
    content = json.loads(keras.Model([given, later], L.LSTM(5)(later, initial_state=states)).to_json())
    content["config"]["layers"][-1]["config"]["units"] = 4
    with pytest.raises(ConfigError, match=r"initial_state: must be 2 states of shape \(4,\)"):
        keras_json.load(content)


@pytest.mark.parametrize(
    ("kind", "shape", "options"),
    [
        ("ConvLSTM1D", (4, 6, 2), {"kernel_size": 3, "padding": "same", "return_sequences": True}),
        ("ConvLSTM2D", (3, 6, 5, 2), {"kernel_size": (3, 2), "strides": 2, "dropout": 0.2, "recurrent_dropout": 0.1}),
        ("ConvLSTM2D", (3, 6, 5, 2), {"kernel_size": 2, "go_backwards": True, "use_bias": False, "return_state": True}),
        ("ConvLSTM3D", (3, 4, 5, 6, 1), {"kernel_size": 2, "padding": "same"}),
    ],
    ids=str,
)
def test_a_memory_of_maps(tmp_path: Path, kind: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    given = L.Input(shape)
    agree(keras.Model(given, getattr(L, kind)(3, **options)(given)), tmp_path, [numbers(*shape)])


def marked(seed: int = 0) -> np.ndarray:
    """Sequences whose first, last or inner steps are zeros, each another number of them."""
    found = numbers(*STEPS, seed=seed)
    found[0, 4:], found[1, :2], found[2, [1, 3]] = 0, 0, 0
    return found


MARKED = {
    "LSTM": lambda x: L.LSTM(4)(x),
    "all steps": lambda x: L.GRU(4, return_sequences=True)(x),
    "zeros": lambda x: L.LSTM(4, return_sequences=True, zero_output_for_mask=True)(x),
    "backwards": lambda x: L.SimpleRNN(4, go_backwards=True)(x),
    "both ways": lambda x: L.Bidirectional(L.LSTM(4, return_sequences=True))(x),
    "one behind the other": lambda x: L.LSTM(3)(L.Dropout(0.2)(L.GRU(4, return_sequences=True)(x))),
    "mean": lambda x: L.GlobalAveragePooling1D()(L.Dense(4, activation="relu")(x)),
    "normed": lambda x: L.GlobalAveragePooling1D()(L.BatchNormalization()(L.LayerNormalization()(x))),
    "at each step": lambda x: L.LSTM(3)(L.TimeDistributed(L.Dense(4))(x)),
    "attention": lambda x: L.GlobalAveragePooling1D()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)])),
    "attention without heads": lambda x: L.LSTM(3)(L.Attention()([x, x])),
    "joined": lambda x: L.LSTM(3)(L.Concatenate()([x, L.Dense(2)(x)])),
    "ended": lambda x: L.GlobalMaxPooling1D()(L.Conv1D(4, 2)(x)),
    "flat": lambda x: L.Dense(2)(L.Flatten()(x)),
    "products": lambda x: L.GlobalAveragePooling1D()(L.Dot(2)([x, x])),
}


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
@pytest.mark.parametrize("name", MARKED)
def test_steps_that_count_for_nothing(tmp_path: Path, name: str) -> None:
    given = L.Input(STEPS)
    agree(keras.Model(given, MARKED[name](L.Masking(0.0)(given))), tmp_path, [marked()])


def test_numbers_that_count_for_nothing(tmp_path: Path) -> None:
    given = L.Input((6,))
    vectors = L.Embedding(9, 4, mask_zero=True)(given)
    model = keras.Model(given, [L.LSTM(3)(vectors), L.GlobalAveragePooling1D()(vectors)])
    texts = np.array([[3, 4, 1, 0, 0, 0], [1, 2, 3, 4, 5, 6], [7, 0, 8, 0, 1, 0]], np.float32)
    agree(model, tmp_path, [texts])


def test_marks_change_what_comes_out() -> None:
    """So that the tests above do not hold for a layer that goes by none."""
    layers = [
        {"class_name": "Masking", "config": {"mask_value": 0.0}},
        {"class_name": "LSTM", "config": {"units": 3}},
    ]
    with_marks, without = (keras_json.load(given, input_shapes=[STEPS]).eval() for given in (layers, layers[1:]))
    without.load_state_dict({key.replace("lstm", "lstm"): value for key, value in with_marks.state_dict().items()})
    x = torch.from_numpy(marked()).movedim(-1, 1)
    # Steps of zeros at the beginning leave a state of zeros, others go on with it.
    assert not torch.allclose(with_marks(x)[0], without(x)[0])
    torch.testing.assert_close(with_marks(x)[0], without(x[:1, :, :4])[0])


@pytest.mark.parametrize(
    "behind",
    [
        {"class_name": "Softmax", "config": {}},
        {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Sequential", "config": {
            "layers": [{"class_name": "Dense", "config": {"units": 2}}]}}}},
    ],
    ids=["Softmax", "a network"],
)  # fmt: skip
def test_what_goes_by_marks_in_another_way_is_refused(behind: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not go by marked steps here"):
        keras_json.load([{"class_name": "Masking", "config": {}}, behind], input_shapes=[STEPS])


def test_one_layer_that_is_called_in_two_ways_is_refused() -> None:
    """It is made for its first call: the second one looked at later steps, which it says it does not."""
    given, layer = L.Input(STEPS), L.Attention()
    model = keras.Model(given, [layer([given, given]), layer([given, given], use_causal_mask=True)])
    with pytest.raises(ConfigError, match="called in two ways"):
        keras_json.load(json.loads(model.to_json()))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_keras_3_goes_by_no_marks_where_states_are_given(tmp_path: Path, kind: str) -> None:
    """But hands them on."""
    given = L.Input(STEPS)
    steps = L.Masking(0.0)(given)
    _, *states = getattr(L, kind)(4, return_state=True)(steps)
    found = getattr(L, kind)(4, return_sequences=True)(steps, initial_state=states)
    agree(keras.Model(given, L.GlobalAveragePooling1D()(found)), tmp_path, [marked()])


def test_marked_steps_are_in_no_statistics_of_a_batch() -> None:
    given = L.Input(STEPS)
    model = keras.Model(given, L.BatchNormalization(momentum=0.5)(L.Masking(0.0)(given)))
    graph = keras_json.load(json.loads(model.to_json())).train()
    x = marked()
    wanted = keras.ops.convert_to_numpy(model(x, training=True))
    found = graph(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    counted = x[(x != 0).any(-1)]
    state = graph.state_dict()
    mean, variance = (next(value for key, value in state.items() if key.endswith(end)) for end in ("_mean", "_var"))
    np.testing.assert_allclose(mean, counted.mean(0) / 2, atol=1e-6)
    np.testing.assert_allclose(variance, 0.5 + counted.var(0, ddof=1) / 2, atol=1e-6)


@pytest.mark.parametrize(("version", "counts_all"), [("2.15.0", False), ("2.9.0", True), (None, True)])
def test_marked_steps_count_in_statistics_of_early_keras_2(version: str | None, counts_all: bool) -> None:
    """The text of `tf_keras`: its batch normalisation takes marks as weights of moments, that of before 2.13 has none."""
    layers = [
        {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, *STEPS]}},
        {"class_name": "BatchNormalization", "config": {"name": "b", "momentum": 0.5, "epsilon": 1e-9}},
    ]
    content = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    graph = keras_json.load({**content, "keras_version": version} if version else content).train()
    x = marked()
    outputs = graph(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()
    steps = x.reshape(-1, x.shape[-1]) if counts_all else x[(x != 0).any(-1)]
    np.testing.assert_allclose(outputs, (x - steps.mean(0)) / steps.std(0), rtol=1e-4, atol=1e-5)
