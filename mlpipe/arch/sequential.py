"""A network from a list of layers with parameters in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras.graph import Graph
from mlpipe.arch.keras.layers import KINDS, known
from mlpipe.arch.keras.parsing import INPUTS, MODELS
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

_KEY = "arch.network.params.layers"
_OWN = "write a function that returns a torch module"
_NAME = re.compile(r"\{\{(.+)\}\}")
# Packages of layers in Keras and TensorFlow; submodules count too.
_KERAS = ("tensorflow.python.keras.layers", "tensorflow.keras.layers", "tf.keras.layers", "keras.layers")


class Sequential(nn.Module):
    """A chain of Keras layers with channels-last inputs and outputs, as in records.

    Attributes:
        output_names: Name of the only output, that of the last layer.

    Args:
        graph: The layers, with channels second.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.output_names = [graph.names[number] for number in graph.outputs]

    def forward(self, values: Tensor) -> Tensor:
        """Return the output of the last layer.

        Args:
            values: Shape (n, ...), channels last.
        """
        output: Tensor = self.graph(values.movedim(-1, 1) if values.ndim > 2 else values)
        return output.movedim(1, -1) if output.ndim > 2 else output


def sequential_from_config(layers: list[dict[str, Any]], **network_params: Any) -> Sequential:
    """Build a chain of Keras layers.

    Args:
        layers: One `{import: CLASS, params: {...}}` per layer, with Keras's names of layers and parameters. A string that
            is exactly `{{name}}` is replaced by the network parameter of that name; unknown names stay as they are.
        network_params: The network parameters by name.

    Raises:
        ConfigError: When blocks are malformed (all of them are reported), or a layer is invalid.
    """
    if not isinstance(layers, list) or not layers:
        raise ConfigError(problem(_KEY, "must be a list of layers", got=layers, fix="write [{import: Dense, ...}]"))
    problems, nodes = list[str](), []
    for number, block in enumerate(rendered(layers, network_params)):
        key = f"{_KEY}[{number}]"
        if not isinstance(block, Mapping) or not isinstance(block.get("import"), str):
            problems.append(problem(key, "has no import", got=block, fix="write {import: Dense, params: {...}}"))
        elif unknown := sorted(set(block) - {"import", "params"}):
            problems.append(problem(f"{key}.{unknown[0]}", "unknown key", fix="a layer has import and params"))
        else:
            nodes.append(_node(key, block, problems))
    if problems:
        raise ConfigError(problems)
    return Sequential(keras_json.load(nodes))


def rendered(value: Any, params: Mapping[str, Any]) -> Any:
    """Return a copy of nested lists and mappings with `{{name}}` replaced by parameter values, keeping their types."""
    if isinstance(value, Mapping):
        return {key: rendered(item, params) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rendered(item, params) for item in value]
    match = _NAME.fullmatch(value) if isinstance(value, str) else None
    return params[match[1]] if match and match[1] in params else value


def _node(key: str, block: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return a layer in Keras's JSON form."""
    module, _, name = str(block["import"]).rpartition(".")
    if module and not any(module == package or module.startswith(f"{package}.") for package in _KERAS):
        problems.append(
            problem(f"{key}.import", "is no layer of Keras", got=block["import"], fix=f"use one, or {_OWN}")
        )
    elif not known(name) and name not in (*INPUTS, *MODELS, "Lambda"):
        near = did_you_mean(name, KINDS, otherwise=f"there are {listing(KINDS, most=70)}")
        problems.append(problem(f"{key}.import", "there is no such layer here", got=name, fix=f"{near}; or {_OWN}"))
    config = dict(block.get("params") or {})
    if isinstance(config.get("shape"), int):
        config["shape"] = [config["shape"]]
    for shape in ("shape", "input_shape"):
        # Keras takes a shape as an argument but stores it with the batch dimension.
        if name in INPUTS or shape == "input_shape":
            sizes = config.pop(shape, None)
            if sizes is not None:
                config["batch_input_shape"] = [None, *sizes]
    return {"class_name": "InputLayer" if name == "Input" else name, "config": config}
