"""Keras networks for slices of volumes: outputs are maps of the input's size with one, two or three axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe import current_folder
from mlpipe.arch import weights as weight_files
from mlpipe.arch.keras import graph as keras_graph
from mlpipe.arch.keras import keras_json, parsing
from mlpipe.arch.keras.classifier import of_size, only_input
from mlpipe.arch.keras.graph import Graph
from mlpipe.errors import ConfigError, listing, problem

# Prefix of a record's body weights before the names of the file's layers.
_BODY = "backbone."


def network(params: Mapping[str, Any], channels: int, sizes: tuple[int, ...]) -> tuple[Graph, tuple[Any, Any]]:
    """Build the network of a section `arch` with its weights, any final activation included, without scaling of values.

    Args:
        params: The keys of `arch=keras_json`.
        channels: Number of channels of the slices.
        sizes: Spatial shape of the slices.

    Returns:
        The network, channels first, and the names (`layer/weight`) of the loaded and of the new weights.

    Raises:
        ConfigError: When it does not take such slices, or its output does not have the input's size.
        DataError: When its weights do not fit.
    """
    content = params["layers"]
    described = parsing.describe(parsing.decoded(content, "arch.file") if isinstance(content, str) else content)
    input_shape, always_affine = (*sizes, channels), bool(params.get("always_affine", False))
    described = of_size(described, input_shape, always_affine=always_affine)
    _check_input(described.shapes, input_shape)
    graph = keras_graph.build(described, [input_shape], always_affine=always_affine)
    output_shapes = [graph.shapes[number] for number in graph.outputs]
    if len(output_shapes) != 1 or output_shapes[0][:-1] != sizes:
        shapes = listing([list(shape) for shape in output_shapes])
        fix = "end it in one map of the slices' size, for example in a convolution with padding same"
        wrong = f"gives {shapes} of slices of {list(input_shape)}, where only the channels may change"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    weights = params.get("weights")
    if weights is None:
        return graph, ((), ())
    path = current_folder.expanded(weights)
    state, origin = keras_json.load_layer_weights(graph, path, bool(params.get("weights_by_layer", False)))
    if state is not None:
        body = {name.removeprefix(_BODY): tensor for name, tensor in state.items() if name.startswith(_BODY)}
        match = weight_files.load(graph, body)
        weight_files.require_match(match, path)
        origin = (match.loaded, match.missing)
    return graph, origin


def _check_input(shapes: Mapping[str, tuple[int | None, ...] | None], given: tuple[int, ...]) -> None:
    """Require a single input that takes the slices.

    Raises:
        ConfigError: When there are several inputs, or it takes another shape.
    """
    shape = only_input(shapes, "takes", "a slice")
    if shape is None:
        return
    if len(shape) != len(given) or any(size not in (None, own) for size, own in zip(shape, given, strict=True)):
        fix = "make slices of that size with what is put around them, or change the input's shape"
        wrong = f"takes {[*shape]}, slices are {[*given]} with their channels last"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
