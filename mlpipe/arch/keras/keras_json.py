"""Networks in Keras's JSON, or lists of its layers, as an arch: `arch=keras_json arch.file=net.json`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import nn

from mlpipe import current_folder, hdf5, limits
from mlpipe.arch import adapt, initial_weights
from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.detector import Anchors
from mlpipe.arch.keras import graph as keras_graph
from mlpipe.arch.keras import parsing
from mlpipe.arch.keras import weights as keras_weights
from mlpipe.arch.keras.classifier import KerasClassifier, check_input, classifier, of_size
from mlpipe.arch.keras.detector import KerasDetector, detector
from mlpipe.arch.keras.graph import Graph
from mlpipe.arch.keras.layers.norms import BatchNorm
from mlpipe.arch.keras.segmenter import KerasSegmenter, segmenter, takes_rows
from mlpipe.arch.keras.weights import Report
from mlpipe.errors import ConfigError, DataError, listing, no_such_file, problem

log = logging.getLogger("mlpipe")

KerasNetwork = KerasClassifier | KerasSegmenter | KerasDetector

# Characters outside this set could have a meaning in a language that the file is taken for.
_PLAIN = re.compile(r"[^\w .,:()\[\]+/-]")


def keras_json(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    layers: str | list[Any] | dict[str, Any] | None = None,
    file: str | None = None,
    name: str | None = None,
    pretrained: bool = False,
    weights: str | None = None,
    weights_by_layer: bool = False,
    white: Annotated[float, "> 0"] = 1.0,
    always_affine: bool = False,
    anchors: Literal["kmeans"] | list[list[float]] | None = None,
    freeze: bool | Literal["backbone"] = False,
) -> KerasClassifier | KerasSegmenter | KerasDetector:
    """Build a network from Keras's JSON; its last Dense layer is the head.

    A final softmax or sigmoid is removed, so that the network returns the logits; a log_softmax stays. One sigmoid unit is
    enough for two classes. For masks the network must end in a map of the image's size and has no head; for boxes it must
    end in the rows of grid cells, see `mlpipe.arch.keras.detector`.

    Args:
        heads: The head of each target; set by the program.
        pixels: The format of the images; set by the program.
        layers: The network: a list of layers, the content that `model.to_json()` writes, or its text.
        file: A file with the network, read into `layers`.
        name: Name of the network.
        pretrained: Must be false: there are no pretrained weights.
        weights: A weights file: Keras's (.h5, .weights.h5), .safetensors, .pt or .pth.
        weights_by_layer: Load the weights of layers with matching names, and initialise all others, however many they are.
        white: The network's value of white pixels: 1, or 255 if it begins with a Rescaling layer.
        always_affine: Train scale and offset of all batch normalisations, even where the file has none.
        anchors: For boxes, as in `arch=yolo`; the same number for each of the network's grids.
        freeze: True or `backbone`: train the last Dense layer only.

    Raises:
        ConfigError: When the network is wrong, or does not suit the task.
        DataError: When a weights file does not fit.
    """
    if pretrained:
        fix = "name a file with arch.weights"
        raise ConfigError(problem("arch.pretrained", "a network from a file has no weights to be downloaded", fix=fix))
    content: Any = layers
    if layers is None:
        if file is None:
            raise ConfigError(problem("arch.file", "a value is needed", fix="add arch.file=net.json, or arch.layers"))
        content = read(Path(file))
    if isinstance(content, str):
        content = parsing.decoded(content, "arch.file")
    described = parsing.describe(content)
    # A network with outputs of any height may also take rows without a height.
    is_row = any(head.any_height for head in heads.values()) and takes_rows(described.shapes, pixels)
    input_shape = (*pixels.sides, pixels.channels)[int(is_row) :]
    described = of_size(described, input_shape, always_affine=always_affine)
    check_input(described.shapes, pixels, name or described.name, is_row=is_row)
    graph = keras_graph.build(described, [input_shape], always_affine=always_affine)
    path = current_folder.expanded(weights) if weights is not None else None
    state, origin = (None, ((), ())) if path is None else load_layer_weights(graph, path, weights_by_layer)
    drawing = dot(graph)
    network = _network_of_task(graph, heads, pixels, white, anchors)
    network.origin, network.drawing = origin, drawing
    if path is not None and state is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(str(path), strict=not weights_by_layer))
    if freeze and not any(True for _ in network.heads.parameters()):
        fix = "end the network in a Dense layer, or leave it out"
        raise ConfigError(problem("arch.freeze", "leaves nothing to learn", got=freeze, fix=fix))
    adapt.freeze(network, freeze)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(problem("arch.layers", "no layer learns", fix="set trainable of one of them to true"))
    return network


def _network_of_task(
    graph: Graph, heads: Mapping[str, Head], pixels: Pixels, white: float, anchors: Anchors
) -> KerasNetwork:
    """Build the network for a task from a graph, according to the kind of its targets."""
    if any(head.most for head in heads.values()):
        return detector(graph, heads, pixels, white, anchors)
    if anchors is not None:
        raise ConfigError(problem("arch.anchors", "are for boxes", got=anchors, fix="leave it out"))
    per_pixel = any(head.per_pixel for head in heads.values())
    return (segmenter if per_pixel else classifier)(graph, heads, pixels, white)


def load_layer_weights(
    graph: Graph, path: Path, is_by_layer: bool
) -> tuple[dict[str, Any] | None, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Load weights that are named after the file's layers; return those that are named as in a record for later.

    Returns:
        The latter, and the names (`layer/weight`) of the loaded and of the new weights.

    Raises:
        DataError: When weights do not fit.
    """
    if path.suffix not in hdf5.ENDS:
        state = weight_files.read(path)
        if any(name.startswith(("backbone.", "heads.")) for name in state):
            return state, ((), ())
        match = weight_files.load(graph, state)
        if not is_by_layer:
            weight_files.require_match(match, path)
        _demand_shapes(match.misshapen, path)
        loaded, missing = (
            tuple(name.replace(".", "/", 1) for name in names) for names in (match.loaded, match.missing)
        )
        if not loaded:
            wrong = f"holds no layer of the network ({match.sentence()})"
            raise DataError(problem("arch.weights", wrong, got=str(path), fix="name the file of this network"))
        return None, (loaded, missing)
    report = load_weights(graph, path)
    _demand_shapes(report.mismatched, path)
    if not report.matched:
        wrong = f"holds no layer of the network ({report.sentence()})"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix="name the file of this network"))
    if report.skipped or report.unused:
        log.info(f"{path.name}: {report.sentence()}")
    return None, (report.matched, report.skipped)


def _demand_shapes(others: Sequence[str], path: Path) -> None:
    """Require that no weight has another shape.

    Raises:
        DataError: When a shape differs.
    """
    if others:
        wrong = f"does not fit the network ({listing(others, most=3)})"
        fix = "rename the layers that are to begin with new weights"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix=fix))


def load(
    source: str | Path | Mapping[str, Any] | list[Any],
    *,
    input_shapes: Sequence[tuple[int, ...] | None] = (),
    always_affine: bool = False,
) -> Graph:
    """Build the module of a Keras network, with new weights initialised as in Keras.

    Its tensors have their channels second, (n, channels, height, width); operations that depend on the axis order (Flatten,
    Reshape, Dense, axes) give the same results as Keras does with channels last.

    Args:
        source: A file or its content: Functional, Model or Sequential of Keras 2 or 3, or a list of layers.
        input_shapes: The shape of each input, channels last without the batch, where the file leaves it open.
        always_affine: Train scale and offset of all batch normalisations, even where the file has none.

    Raises:
        ConfigError: When the network is wrong.
    """
    content: Any = source
    if isinstance(source, str | Path):
        content = parsing.decoded(read(Path(source)), str(source))
    return keras_graph.build(parsing.describe(content), input_shapes, always_affine=always_affine)


def read(path: Path, key: str = "arch.file") -> str:
    """Return the text of a file.

    Raises:
        ConfigError: When it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(no_such_file(key, path))
    try:
        return limits.text(path)
    except (OSError, UnicodeDecodeError) as error:
        fix = "give the JSON of model.to_json()"
        raise ConfigError(problem(key, f"cannot be read ({error})", got=str(path), fix=fix)) from error


def load_weights(graph: Graph, path: str | Path) -> Report:
    """Load Keras's HDF5 weights by layer names, and return a report of the matches.

    Raises:
        DataError: When the file cannot be read.
    """
    return keras_weights.load_weights(graph, Path(path))


def count(graph: nn.Module) -> tuple[int, int]:
    """Return the number of parameters and of trainable parameters.

    Moving statistics do not count; scale and offset of every batch normalisation do, even where the file leaves them out.
    """
    total = learn = 0
    for module in graph.modules():
        own = list(module.parameters(recurse=False))
        total += sum(parameter.numel() for parameter in own)
        learn += sum(parameter.numel() for parameter in own if parameter.requires_grad)
        if isinstance(module, BatchNorm):
            missing = 2 * module.num_features - sum(parameter.numel() for parameter in own)
            total += missing
            learn += missing if module not in _frozen_norms(graph) else 0
    return total, learn


def dot(graph: Graph) -> str:
    """Return the network as a Graphviz graph: a box for each call of a layer, with its output shape."""
    lines = [f"digraph {_graphviz_text(graph.title)} {{", "  node [shape=box];"]
    for number, name in enumerate(graph.inputs):
        lines.append(f"  t{number} [label={_graphviz_text(name, 'InputLayer', graph.shapes[number])}];")
    boxes = {number: f"t{number}" for number in range(len(graph.inputs))}
    for step in graph.steps:
        box = f"t{step.outputs[0]}"
        kind = graph.layers[step.layer].kind + (f" + {step.activation.name}" if step.activation else "")
        lines.append(f"  {box} [label={_graphviz_text(step.layer, kind, graph.shapes[step.outputs[0]])}];")
        lines += [f"  {boxes[number]} -> {box};" for number in step.inputs]
        boxes |= dict.fromkeys(step.outputs, box)
    return "\n".join([*lines, "}", ""])


def _frozen_norms(graph: nn.Module) -> set[nn.Module]:
    """Return the batch normalisations that a file freezes."""
    return {
        part.get_submodule(name)
        for part in graph.modules()
        if isinstance(part, Graph)
        for layer in part.layers.values()
        if layer.module and not layer.trainable
        for name in [
            f"{layer.module}.{inner}".rstrip(".") for inner, _ in part.get_submodule(layer.module).named_modules()
        ]
    }


def _graphviz_text(*lines: object) -> str:
    """Return lines as Graphviz text, with special characters as numeric entities, so that no shell can interpret them."""
    text = "\\n".join(_PLAIN.sub(lambda letter: f"&#{ord(letter[0])};", str(line)) for line in lines)
    return f'"{text}"'
