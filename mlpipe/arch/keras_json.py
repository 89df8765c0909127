"""A network that Keras wrote as JSON, or a list of its layers, as an ordinary arch: `arch=keras_json arch.file=net.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mlpipe.arch import keras_graph, keras_parsing, keras_weights
from mlpipe.arch.keras_graph import Graph
from mlpipe.arch.keras_layers.norms import BatchNorm
from mlpipe.arch.keras_weights import Report
from mlpipe.errors import ConfigError, did_you_mean, problem


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
        always_affine: Let batch normalisations learn scale and offset also where the file says no, as rmldnn does.

    Raises:
        ConfigError: With a sentence for what is wrong.
    """
    content: Any = source
    if isinstance(source, str | Path):
        content = keras_parsing.decoded(read(Path(source)), str(source))
    return keras_graph.build(keras_parsing.describe(content), input_shapes, always_affine=always_affine)


def read(path: Path, key: str = "arch.file") -> str:
    """The text of a file.

    Raises:
        ConfigError: When it cannot be read.
    """
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        fix = did_you_mean(path.name, siblings, otherwise="name an existing file")
        raise ConfigError(problem(key, "there is no such file", got=str(path), fix=fix))
    try:
        return path.read_text("utf-8")
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
    """How many parameters there are, and how many learn, as rmldnn counts.

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
            learn += missing if module not in _frozen(graph) else 0
    return total, learn


def dot(graph: Graph) -> str:
    """The network as a graph of Graphviz: a box for each call of a layer, with the shape that it gives."""
    lines = [f"digraph {_quoted(graph.title)} {{", "  node [shape=box];"]
    for number, name in enumerate(graph.inputs):
        lines.append(f"  t{number} [label={_quoted(name, 'InputLayer', graph.shapes[number])}];")
    boxes = {number: f"t{number}" for number in range(len(graph.inputs))}
    for step in graph.steps:
        box = f"t{step.outputs[0]}"
        kind = graph.layers[step.layer].kind + (f" + {step.activation.name}" if step.activation else "")
        lines.append(f"  {box} [label={_quoted(step.layer, kind, graph.shapes[step.outputs[0]])}];")
        lines += [f"  {boxes[number]} -> {box};" for number in step.inputs]
        boxes |= dict.fromkeys(step.outputs, box)
    return "\n".join([*lines, "}", ""])


def _frozen(graph: nn.Module) -> set[nn.Module]:
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


def _quoted(*lines: object) -> str:
    text = "\\n".join(str(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{text}"'
