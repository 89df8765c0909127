"""Weights of Keras in every layout of HDF5: what fits is loaded by name, the rest is said, nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mlpipe.arch.keras import keras_json
from mlpipe.errors import DataError
from tests.arch.keras.keras_oracle import difference, randomise

import keras  # isort: skip

L = keras.layers


def network() -> Any:
    """Every kind of weight, a layer used twice, a network inside; the count of a Normalization is of no use to us."""
    i = L.Input((9, 8, 3))
    pixels = L.Normalization(name="pixels")
    pixels.adapt(np.random.default_rng(0).normal(3, 2, (4, 9, 8, 3)).astype(np.float32))
    x = L.Conv2D(4, (3, 2), name="conv")(pixels(i))
    x = L.BatchNormalization(name="bn", scale=False)(x)
    shared = L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, name="separable")
    x = L.Add(name="add")([shared(x), shared(shared(x))])
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    inner = [
        L.Conv2DTranspose(4, 3, strides=2, name="up"),
        L.LayerNormalization(name="norm"),
        L.BatchNormalization(name="bn"),
    ]
    x = keras.Sequential([L.Input((5, 5, 8)), *inner], name="inner")(x)
    return keras.Model(i, L.Dense(3, name="out")(L.Flatten(name="flat")(x)))


def graph_of(model: Any) -> Any:
    torch.manual_seed(5)
    return keras_json.load(json.loads(model.to_json()))


def old_file(model: Any, path: Path, *, inside: bool, prefix: str = "", split: int = 0) -> None:
    """What tf_keras writes: groups by layers, weights named `layer/weight:0`, their names in attributes."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if inside else file
        names = [layer.name.encode() for layer in model.layers]
        if split:
            for number, start in enumerate(range(0, len(names), split)):
                root.attrs[f"layer_names{number}"] = names[start : start + split]
        else:
            root.attrs["layer_names"] = names
        for layer in model.layers:
            group = root.create_group(layer.name)
            owners = layer.layers if isinstance(layer, keras.Sequential) else [layer]
            written = []
            for owner in owners:
                for weight in owner.weights:
                    word = weight.name
                    if word == "kernel" and isinstance(owner, L.DepthwiseConv2D):
                        word = "depthwise_kernel"
                    name = f"{prefix}{owner.name}/{word}:0"
                    group.create_dataset(name, data=keras.ops.convert_to_numpy(weight.value))
                    written.append(name.encode())
            group.attrs["weight_names"] = written


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("prefix", ["", "model_1/"])
@pytest.mark.parametrize("split", [0, 2])
def test_files_of_keras_2(tmp_path: Path, inside: bool, prefix: str, split: int) -> None:
    model = network()
    randomise(model)
    old_file(model, tmp_path / "w.h5", inside=inside, prefix=prefix, split=split)
    graph = graph_of(model)
    report = keras_json.load_weights(graph, tmp_path / "w.h5")
    assert len(report.matched) == len(model.weights) - 1
    assert not report.skipped and not report.mismatched and not report.unused
    assert difference(model, graph) < 1e-5


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
def test_files_of_keras_3(tmp_path: Path, name: str) -> None:
    model = network()
    randomise(model)
    (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    graph = graph_of(model)
    report = keras_json.load_weights(graph, tmp_path / name)
    assert report.sentence() == f"{len(model.weights) - 1} weights loaded"
    assert difference(model, graph) < 1e-5


def test_layers_match_by_name_not_by_position(tmp_path: Path) -> None:
    first = keras.Sequential([L.Input((4,)), L.Dense(4, name="a"), L.Dense(4, name="b")])
    randomise(first)
    other = keras.Sequential([L.Input((4,)), L.Dense(4, name="b"), L.Dense(4, name="a")])
    for name in ("w.h5", "w.weights.h5"):
        (first.save_weights if "weights" in name else first.save)(tmp_path / name)
        graph = graph_of(other)
        keras_json.load_weights(graph, tmp_path / name)
        wanted = keras.ops.convert_to_numpy(first.get_layer("b").kernel)
        np.testing.assert_array_equal(graph.get_parameter("b.weight").detach().numpy(), wanted.T)


def test_what_does_not_match_is_said_and_left_alone(tmp_path: Path) -> None:
    stored = keras.Sequential(
        [L.Input((4,)), L.Dense(5, name="a"), L.Dense(6, name="b"), L.Dense(2, name="c", use_bias=False)]
    )
    randomise(stored)
    wanted = keras.Sequential([L.Input((4,)), L.Dense(5, name="a"), L.Dense(7, name="b"), L.Dense(3, name="d")])
    for name in ("w.h5", "w.weights.h5"):
        (stored.save_weights if "weights" in name else stored.save)(tmp_path / name)
        graph = graph_of(wanted)
        before = {key: tensor.clone() for key, tensor in graph.state_dict().items()}
        report = keras_json.load_weights(graph, tmp_path / name)
        assert report.matched == ("a/kernel", "a/bias") and report.skipped == ("d/kernel", "d/bias")
        assert report.mismatched == (
            "b/kernel: (5, 6) in the file, (5, 7) in the network",
            "b/bias: (6,) in the file, (7,) in the network",
        )
        assert report.unused == ("c",)
        changed = [key for key, tensor in graph.state_dict().items() if not torch.equal(tensor, before[key])]
        assert changed == ["a.weight", "a.bias"]


def test_a_batch_norm_without_scale_keeps_its_constant(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((4,)), L.BatchNormalization(scale=False, name="bn")])
    randomise(model)
    old_file(model, tmp_path / "w.h5", inside=False)
    graph = keras_json.load(json.loads(model.to_json()), always_affine=True)
    report = keras_json.load_weights(graph, tmp_path / "w.h5")
    assert len(report.matched) == 3 and torch.equal(graph.get_parameter("bn.weight"), torch.ones(4))
    assert difference(model, graph) < 1e-5


def test_slashes_in_layer_names(tmp_path: Path) -> None:
    layers = [{"class_name": "Dense", "config": {"name": name, "units": 2}} for name in ("block/a", "block/b")]
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"block/a", b"block/b"]
        for number, name in enumerate(("block/a", "block/b")):
            group = file.create_group(name)
            for word, shape in (("kernel", (2, 2)), ("bias", (2,))):
                group.create_dataset(f"{name}/{word}:0", data=np.full(shape, number + 1.0))
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
    graph = keras_json.load(layers, input_shapes=[(2,)])
    report = keras_json.load_weights(graph, tmp_path / "w.h5")
    assert len(report.matched) == 4 and not report.unused
    assert graph.get_parameter("block/b.weight").unique().tolist() == [2.0]


def unnamed(path: Path) -> None:
    keras.Sequential([L.Input((4,)), L.Dense(2)]).save_weights(path)
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars"].attrs["name"]


def elsewhere(path: Path) -> None:
    """A weight whose numbers are in another file, which a file of weights must not make anyone read."""
    secret = path.with_name("secret.bin")
    secret.write_bytes(bytes(64))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"d"]
        group = file.create_group("d")
        group.create_dataset("d/kernel:0", (4, 2), "f4", external=[(str(secret), 0, 32)])
        group.attrs["weight_names"] = [b"d/kernel:0"]


def link_to_another_file(path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["kernel"] = np.zeros((4, 2), np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"d"]
        group = file.create_group("d")
        group["d/kernel:0"] = h5py.ExternalLink(str(path.with_name("other.h5")), "kernel")
        group.attrs["weight_names"] = [b"d/kernel:0"]


def not_numbers(path: Path) -> None:
    model = keras.Sequential([L.Input((4,)), L.Dense(2, name="d")])
    model.layers[0].kernel.assign(np.full((4, 2), np.nan))
    model.save_weights(path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b"no"), "cannot be read"),
        (lambda path: h5py.File(path, "w").close(), "holds no layers of Keras"),
        (unnamed, "holds no names of layers, so that it is not known which weights are whose"),
        (elsewhere, "is no plain array"),
        (link_to_another_file, "d/d/kernel:0 is a link to another file"),
        (not_numbers, "holds numbers that are none"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, make: Any, sentence: str) -> None:
    make(tmp_path / "w.weights.h5")
    graph = keras_json.load([{"class_name": "Dense", "config": {"name": "d", "units": 2}}], input_shapes=[(4,)])
    with pytest.raises(DataError, match=sentence):
        keras_json.load_weights(graph, tmp_path / "w.weights.h5")
