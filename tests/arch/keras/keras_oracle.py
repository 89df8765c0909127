"""Networks of Keras as a reference: the same JSON and the same weights must give the same outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras.graph import Graph

Arrays = list[NDArray[np.float32]]


def randomise(model: Any, seed: int = 0) -> None:
    """Random weights, statistics among them."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype != "float32":
            continue
        low, high = (0.5, 2.0) if "variance" in weight.path or "gamma" in weight.path else (-0.5, 0.5)
        scale = 1.0 if len(weight.shape) < 2 else 2.0 / max(1.0, float(np.prod(weight.shape[:-1])) ** 0.5)
        weight.assign(rng.uniform(low, high, weight.shape).astype(np.float32) * (scale if low < 0 else 1.0))


def inputs_of(model: Any, seed: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def keras_outputs(model: Any, given: Arrays) -> Arrays:
    found = model(given if len(given) > 1 else given[0], training=False)
    listed = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(keras.ops.convert_to_numpy(one)) for one in listed]


def our_outputs(graph: Graph, given: Arrays) -> Arrays:
    graph.eval()
    with torch.no_grad():
        found = graph(*(torch.from_numpy(np.ascontiguousarray(np.moveaxis(one, -1, 1))) for one in given))
    listed = found if isinstance(found, tuple) else (found,)
    return [np.moveaxis(one.numpy(), 1, -1) for one in listed]


def loaded(model: Any, folder: Path, content: Any = None) -> Graph:
    """Our network of a model's JSON, with the model's weights."""
    return _with_weights(json.loads(model.to_json()) if content is None else content, _saved(model, folder))


def _saved(model: Any, folder: Path) -> Path:
    path = folder / "network.weights.h5"
    model.save_weights(path)
    return path


def _with_weights(content: Any, path: Path) -> Graph:
    graph = keras_json.load(content)
    report = keras_json.load_weights(graph, path)
    assert not report.skipped and not report.mismatched and not report.unused, report.sentence()
    return graph


def difference(model: Any, graph: Graph, seed: int = 1) -> float:
    """The largest difference of any output, relative to the largest output."""
    given = inputs_of(model, seed)
    return _largest(keras_outputs(model, given), our_outputs(graph, given))


def _largest(wanted: Arrays, found: Arrays) -> float:
    assert [one.shape for one in wanted] == [one.shape for one in found]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6)) for a, b in zip(wanted, found, strict=True))


def agrees(model: Any, folder: Path, content: Any = None, seed: int = 0) -> None:
    """Assert that our network of a model's JSON gives what the model gives, to 1e-5 of the largest output."""
    all_agree(model, folder, [json.loads(model.to_json()) if content is None else content], seed)


def all_agree(model: Any, folder: Path, contents: Sequence[Any], seed: int = 0) -> None:
    """Assert the same of several forms of a model's JSON; what the model itself gives is computed once."""
    randomise(model, seed)
    path, given = _saved(model, folder), inputs_of(model)
    wanted = keras_outputs(model, given)
    for content in contents:
        assert _largest(wanted, our_outputs(_with_weights(content, path), given)) < 1e-5


def both_agree(model: Any, folder: Path, seed: int = 0) -> None:
    """Assert the same of a model's JSON of Keras 3 and of Keras 2."""
    text = model.to_json()
    all_agree(model, folder, [json.loads(text), as_keras_2(json.loads(text))], seed)


def as_keras_2(content: Any) -> Any:
    """The JSON of Keras 3 in the words of Keras 2, as its `to_json` wrote it."""
    network = _old_network({"class_name": content["class_name"], "config": content["config"]})
    return {**network, "keras_version": "2.9.0", "backend": "tensorflow"}


def _old_network(node: dict[str, Any]) -> dict[str, Any]:
    config = dict(node["config"])
    layers = [_old_layer(layer) for layer in config["layers"]]
    config["layers"] = layers
    for key in ("input_layers", "output_layers"):
        if key in config and config[key] and isinstance(config[key][0], str):
            config[key] = [config[key]]
    models = {layer["config"]["name"] for layer in layers if "layers" in layer["config"]}
    for layer in layers:
        for call in layer.get("inbound_nodes", []):
            for tensor in call:
                # Keras 2 counts from 1 what calls a network that was called when it was made.
                tensor[1] += int(tensor[0] in models)
    functional = {layer["config"]["name"] for layer in layers if "output_layers" in layer["config"]}
    for ref in config.get("output_layers", []):
        # Keras 3 counts a Functional's calls from 1 here, too.
        ref[1] += int(ref[0] in models - functional)
    return {"class_name": node["class_name"], "config": config}


def _old_layer(layer: dict[str, Any]) -> dict[str, Any]:
    config = {key: _old_value(value) for key, value in layer["config"].items()}
    if "layers" in config:
        config = _old_network(layer)["config"]
    if "batch_shape" in config:
        config["batch_input_shape"] = config.pop("batch_shape")
    if "optional" in config:
        config.pop("optional")
    if layer["class_name"] == "LeakyReLU":
        config["alpha"] = config.pop("negative_slope")
    if layer["class_name"] == "BatchNormalization":
        config["axis"] = [config["axis"]]
        config.pop("synchronized")
    if layer["class_name"] in ("DepthwiseConv2D", "SeparableConv2D"):
        config |= {"groups": 1, "kernel_initializer": "GlorotUniform", "kernel_regularizer": None}
    config["dtype"] = "float32"
    old = {"class_name": layer["class_name"], "config": config}
    if "inbound_nodes" in layer:
        old["inbound_nodes"] = [_old_call(call) for call in layer["inbound_nodes"]]
    return {**old, "name": config.get("name")}


def _old_call(call: dict[str, Any]) -> list[Any]:
    first = call["args"][0]
    tensors = first if isinstance(first, list) else [first]
    kwargs = {key: value for key, value in call["kwargs"].items() if value is not None}
    return [[*tensor["config"]["keras_history"], kwargs] for tensor in tensors]


def _old_value(value: Any) -> Any:
    if isinstance(value, dict) and "registered_name" in value:
        return {
            "class_name": value["class_name"],
            "config": {k: v for k, v in value["config"].items() if v is not None},
        }
    return value
