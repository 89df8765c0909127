"""Networks that Keras wrote as JSON, or lists of its layers, as an arch: `arch=keras_json arch.file=net.json`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import nn

from mlpipe import hdf5, limits
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

# What no language that a file may be taken for reads as more than a name.
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
    """A network that Keras wrote as JSON; its last Dense is the head.

    A softmax or sigmoid at its end is taken off, so that it gives logits of the same probabilities; a log_softmax stays.
    One sigmoid does for two classes. For masks it ends in a map of the image's size, and has no head; for boxes in the rows
    of the cells of grids, see `mlpipe.arch.keras.detector`.

    Args:
        heads: What each target gets; the program gives it.
        pixels: What the images are like; the program gives it.
        layers: The network: a list of layers, what `model.to_json()` writes, or its text.
        file: A file with it; the configuration reads it into `layers`.
        name: What it is called.
        pretrained: There are no pretrained weights to be had.
        weights: A file of weights: Keras's (.h5, .weights.h5), .safetensors, .pt or .pth.
        weights_by_layer: Load what has the name of a layer, and leave the others new, however many they are.
        white: What the network takes white pixels as: 1, or 255 where it begins with a Rescaling layer.
        always_affine: Let batch normalisations learn scale and offset also where the file says no.
        anchors: For boxes, as of `mlpipe.arch.detector.yolo`; as many as the network has for each grid.
        freeze: True or `backbone`: learn the last Dense only.

    Raises:
        ConfigError: When the network is wrong, or does not fit the task.
        DataError: When a file of weights does not fit.
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
    # What gives maps of any height may also take rows without a height.
    is_row = any(head.any_height for head in heads.values()) and takes_rows(described.shapes, pixels)
    input_shape = (*pixels.sides, pixels.channels)[int(is_row) :]
    described = of_size(described, input_shape, always_affine=always_affine)
    check_input(described.shapes, pixels, name or described.name, is_row=is_row)
    graph = keras_graph.build(described, [input_shape], always_affine=always_affine)
    path = Path(weights).expanduser() if weights is not None else None
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
    """A graph as the network of a task: by what its targets are."""
    if any(head.most for head in heads.values()):
        return detector(graph, heads, pixels, white, anchors)
    if anchors is not None:
        raise ConfigError(problem("arch.anchors", "are for boxes", got=anchors, fix="leave it out"))
    per_pixel = any(head.per_pixel for head in heads.values())
    return (segmenter if per_pixel else classifier)(graph, heads, pixels, white)


def load_layer_weights(
    graph: Graph, path: Path, is_by_layer: bool
) -> tuple[dict[str, Any] | None, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Load weights that are named by the file's layers; those that are named as a record's come back for later.

    Returns:
        The latter, and the names (`layer/weight`) of what was loaded and of what stayed new.

    Raises:
        DataError: When they do not fit.
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
    """Demand that no weight has another shape.

    Raises:
        DataError: When one has.
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
    """The module of a Keras network, with new weights drawn as Keras draws them.

    Its tensors have their channels second, (n, channels, height, width); everything that depends on their order (Flatten,
    Reshape, Dense, axes) gives what Keras gives for channels last.

    Args:
        source: A file, or what is in it: Functional, Model or Sequential of Keras 2 or 3, or a list of layers.
        input_shapes: The shape of each input, channels last without the batch, where the file leaves it open.
        always_affine: Let batch normalisations learn scale and offset also where the file says no.

    Raises:
        ConfigError: With a sentence for what is wrong.
    """
    content: Any = source
    if isinstance(source, str | Path):
        content = parsing.decoded(read(Path(source)), str(source))
    return keras_graph.build(parsing.describe(content), input_shapes, always_affine=always_affine)


def read(path: Path, key: str = "arch.file") -> str:
    """The text of a file.

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
    """Load the weights that Keras stored as HDF5, by the names of layers, and say what matched.

    Raises:
        DataError: When the file cannot be read.
    """
    return keras_weights.load_weights(graph, Path(path))


def count(graph: nn.Module) -> tuple[int, int]:
    """Number of parameters, and of those that learn.

    Moving statistics do not count; scale and offset of every batch normalisation do, also where the file leaves them out.
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
    """The network as a graph of Graphviz: a box for each call of a layer, with the shape that it gives."""
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
    """Batch normalisations that a file freezes."""
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
    """Lines as a text of Graphviz; what is no letter of a name is its character's number there, so that no shell runs it."""
    text = "\\n".join(_PLAIN.sub(lambda letter: f"&#{ord(letter[0])};", str(line)) for line in lines)
    return f'"{text}"'
