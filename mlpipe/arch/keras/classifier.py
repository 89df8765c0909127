"""Keras networks as classifiers, from pixels to logits, with the network's last Dense layer as a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.arch.keras import graph as keras_graph
from mlpipe.arch.keras.graph import Graph, Step
from mlpipe.arch.keras.layers.shapes import Activate, Softmax
from mlpipe.arch.keras.parsing import Description
from mlpipe.errors import ConfigError, listing, problem

# Final activations that turn logits into probabilities.
_ENDS = ("softmax", "logsoftmax", "sigmoid")


@dataclass(frozen=True)
class End:
    """The last layer of a network.

    Attributes:
        layer: Name of the layer with the outputs, for error messages.
        units: Number of outputs.
        activation: The final activation; empty: none, or none that gives probabilities.
        head: The last Dense layer, removed from the graph; None if there is none.
        module: Name of its module in the graph.
    """

    layer: str
    units: int
    activation: str
    head: nn.Linear | None
    module: str = ""


class OneUnit(nn.Linear):
    """A single sigmoid unit as two classes with the logits 0 and its own, whose softmax equals the sigmoid.

    Args:
        unit: The unit, whose weights are copied.
    """

    def __init__(self, unit: nn.Linear) -> None:
        super().__init__(unit.in_features, 1, bias=unit.bias is not None)
        self.load_state_dict(unit.state_dict())
        self.out_features = 2

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n, 2)."""
        logit = super().forward(features)
        return torch.cat([torch.zeros_like(logit), logit], 1)


class KerasClassifier(Classifier):
    """A Keras network as a backbone with heads; its own last layer is the head of the first target.

    Args:
        graph: The network up to its features.
        features: Number of features.
        heads: The head of each target; the first is the task's own.
        head: The module for the first target's head.
        std: Divisor of the pixels, for each channel.
        end: The end of the network in the file.
        axes: Number of spatial axes of a sample; images have two.

    Attributes:
        origin: Names (`layer/weight`) of the weights loaded from a file, and of the new ones.
        drawing: The whole network in the file, in Graphviz's language.
    """

    def __init__(
        self,
        graph: Graph,
        features: int,
        heads: Mapping[str, Head],
        head: nn.Module,
        end: End,
        std: list[float],
        axes: int = 2,
    ) -> None:
        super().__init__(graph, features, heads, [0.0] * len(std), std, axes)
        self._own, self._end = next(iter(heads)), replace(end, head=None)
        self.origin: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.drawing = ""
        self.heads[self._own] = head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits (or log-probabilities, if the network ends in them) or numbers, shape (n, outputs), by target."""
        outputs = super().forward(images)
        if self._end.activation == "logsoftmax":
            outputs[self._own] = outputs[self._own].log_softmax(1)
        return outputs

    @property
    def taken_off(self) -> int:
        """The number of operations removed from the file's graph: the last Dense, and an activation after it."""
        return int(self._end.module != "") + int(self._end.activation != "")

    def as_in_file(self, outputs: Tensor) -> Tensor:
        """Convert the outputs of `forward` for the own target to those of the network in the file, (n, units)."""
        if self._end.units == 1 and outputs.shape[1] == 2:
            return (outputs[:, 1:] - outputs[:, :1]).sigmoid()
        match self._end.activation:
            case "softmax":
                return outputs.softmax(1)
            case "sigmoid":
                return outputs.sigmoid()
        return outputs

    def by_layer(self) -> dict[str, Tensor]:
        """Return the network's tensors, named `layer.tensor` after the layers in the file."""
        tensors = {name: tensor.detach() for name, tensor in self.backbone.state_dict().items()}
        for name, tensor in self.heads[self._own].state_dict().items():
            tensors[f"{self._end.module}.{name}"] = tensor.detach()
        return tensors


def classifier(graph: Graph, heads: Mapping[str, Head], pixels: Pixels, white: float) -> KerasClassifier:
    """Build a network with the requested heads.

    Args:
        graph: The whole network, changed in place.
        heads: The head of each target; the first is the task's own.
        pixels: The format of the images.
        white: The network's value of white pixels.

    Raises:
        ConfigError: When its outputs do not suit the task, or it cannot have further heads.
    """
    own, *others = heads
    mean, std_of_numbers = heads[own].mean, heads[own].std
    is_unscaled = mean is not None and not any(mean) and all(part == 1 for part in std_of_numbers or ())
    end = _end(graph, numbers=mean is not None, unscaled=is_unscaled)
    head = _own_head(end, heads[own])
    if end.head is None and others:
        fix = "end it in a Dense layer, which further heads are put beside"
        raise ConfigError(problem("arch.layers", "has no features for further heads", got=end.layer, fix=fix))
    features = end.head.in_features if end.head is not None else end.units
    std = [pixels.peak / white] * pixels.channels
    return KerasClassifier(graph, features, heads, head, end, std, len(pixels.sides))


def only_input(
    graph_inputs: Mapping[str, tuple[int | None, ...] | None], takes: str, sample: str
) -> tuple[int | None, ...] | None:
    """Return the shape of the only input of a network; None if the file does not specify it.

    Args:
        graph_inputs: The shape of each input in the file.
        takes: Start of the error message about it.
        sample: Description of the data for the input.

    Raises:
        ConfigError: When there are several inputs.
    """
    if len(graph_inputs) != 1:
        wrong, fix = f"{takes} {len(graph_inputs)} inputs, {sample} is one", "use a network with one input"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    return next(iter(graph_inputs.values()))


def of_size(described: Description, given: tuple[int, ...], *, always_affine: bool = False) -> Description:
    """Change the spatial input size of a network if this changes no weight shapes, as in a convolutional network.

    Args:
        described: The network.
        given: Spatial sizes and channels of the data.
        always_affine: As for `mlpipe.arch.keras.graph.build`.

    Returns:
        The changed network, or the same one if it accepts such inputs anyway, has weights that depend on the size, or has
        several inputs.
    """
    name, shape = next(iter(described.shapes.items()), ("", None))
    if len(described.shapes) != 1 or shape is None or len(shape) != len(given) or shape[-1] not in (None, given[-1]):
        return described
    if all(size in (None, own) for size, own in zip(shape, given, strict=True)):
        return described
    other = replace(described, shapes={name: given})
    try:
        graphs = [
            keras_graph.build(description, [given], always_affine=always_affine) for description in (described, other)
        ]
    except ConfigError:
        return described
    first, second = ({name: tensor.shape for name, tensor in graph.state_dict().items()} for graph in graphs)
    return other if first == second else described


def check_input(
    graph_inputs: Mapping[str, tuple[int | None, ...] | None], pixels: Pixels, name: str, *, is_row: bool = False
) -> None:
    """Require a single input for images, or other samples, of the task's size and channels.

    Args:
        graph_inputs: The shape of each input in the file.
        pixels: The format of the images.
        name: Name of the network.
        is_row: Whether its input has no height.

    Raises:
        ConfigError: When the network takes other inputs.
    """
    shape = only_input(graph_inputs, f"{name} takes", "an image")
    if shape is None:
        return
    if is_row:
        shape = (1, *shape)
    axes = len(pixels.sides)
    if len(shape) != axes + 1:
        fix = "begin with an image, (height, width, channels), and a Flatten layer"
        wrong = f"{name} takes no images"
        if len(shape) in (2, 3, 4):
            own = f"{len(shape) - 1} ax{'is' if len(shape) == 2 else 'es'}"
            wrong = f"{name} takes samples of {own}, the task's have {axes}"
            fix = f"begin with ({listing([*pixels.sides, pixels.channels])})"
        raise ConfigError(problem("arch.layers", wrong, got=shape, fix=fix))
    *sides, channels = shape
    problems = []
    if channels != pixels.channels:
        wrong = f"{name} takes images of {channels} channels, the task's have {pixels.channels}"
        fix = f"set the last number of the input's shape to {pixels.channels}"
        problems.append(problem("arch.layers", wrong, got=shape, fix=fix))
    if not all(size in (None, own) for size, own in zip(sides, pixels.sides, strict=True)):
        problems.append(_size_problem(sides, pixels, name))
    if problems:
        raise ConfigError(problems)


def _size_problem(sides: list[int | None], pixels: Pixels, name: str) -> str:
    """Return the error message for a network with another input size than the task's."""
    if pixels.shape:
        fix = f"begin with ({listing([*pixels.sides, pixels.channels])}), or null for sizes that it leaves open"
        return problem("arch.layers", f"{name} takes samples of another size", got=sides, fix=fix)
    wrong = f"{name} takes images of {sides[0]} x {sides[1]}, these are {pixels.sides[0]} x {pixels.sides[1]}"
    if pixels.size == 1:
        return problem("arch.layers", wrong, fix=f"let its input be {pixels.sides[1]} wide")
    sizes = {*sides} - {None}
    fix = f"set it to {sizes.pop()}" if len(sizes) == 1 else "give it images of its own size"
    return problem("preprocessing.size", wrong, got=pixels.size, fix=fix)


def _end(graph: Graph, *, numbers: bool, unscaled: bool = False) -> End:
    """Remove the final activation and the last Dense layer from a graph; unscaled numbers keep an activation."""
    if unscaled and (own := output_and_activation(graph))[1]:
        shape = graph.shapes[graph.outputs[0]]
        return End(own[0].layer, shape[-1], "", None, "")
    step, activation = without_activation(graph)
    if numbers and activation:
        fix = "end it in a linear layer"
        wrong = f"{step.layer} ends in {activation}, which gives no numbers"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    shape = graph.shapes[graph.outputs[0]]
    if len(shape) != 1:
        fix = "end it in Flatten or global pooling, and Dense"
        raise ConfigError(problem("arch.layers", f"{step.layer} gives {shape}, no row of outputs", fix=fix))
    module, head = graph.get_submodule(step.module), None
    is_last = type(module) is nn.Linear and step.activation is None and len(_steps_of_module(graph, step.module)) == 1
    if is_last and isinstance(module, nn.Linear):
        head = module
        graph.finish([step.inputs[0]])
    return End(step.layer, shape[0], activation, head, step.module if head is not None else "")


def output_step(graph: Graph) -> Step:
    """Return the call that computes the single output of a graph.

    Raises:
        ConfigError: When it has several outputs, or an output that is an input.
    """
    if len(graph.outputs) != 1:
        fix = "use a network with one output"
        raise ConfigError(problem("arch.layers", f"{graph.title} gives {len(graph.outputs)} outputs", fix=fix))
    return step_of_tensor(graph, graph.outputs[0])


def without_activation(graph: Graph) -> tuple[Step, str]:
    """Remove a final activation that gives probabilities from a graph with one output.

    Args:
        graph: The network, changed in place.

    Returns:
        The call that now computes the output, and the name of the removed activation; empty if there was none.

    Raises:
        ConfigError: When it has several outputs, or an output that is an input.
    """
    step, activation = output_and_activation(graph)
    if activation and step.activation is None:
        graph.finish([step.inputs[0]])
        step = step_of_tensor(graph, graph.outputs[0])
    elif activation:
        bare = replace(step, activation=None)
        graph.steps[graph.steps.index(step)] = bare
        step = bare
    return step, activation


def output_and_activation(graph: Graph) -> tuple[Step, str]:
    """Return the call that computes the single output of a graph, and its activation; empty if none gives probabilities.

    Args:
        graph: The network, left unchanged.

    Raises:
        ConfigError: When it has several outputs, or an output that is an input.
    """
    step = output_step(graph)
    return step, _activation(graph, step)


def step_of_tensor(graph: Graph, number: int) -> Step:
    """Return the call that computes a tensor.

    Raises:
        ConfigError: When the tensor is an input.
    """
    for step in graph.steps:
        if number in step.outputs:
            return step
    raise ConfigError(problem("arch.layers", f"{graph.title} learns nothing", fix="add layers"))


def _activation(graph: Graph, step: Step) -> str:
    """Return the final activation of a graph if it gives probabilities, else an empty string."""
    module = graph.get_submodule(step.module)
    if step.activation is not None:
        name = step.activation.name
    elif isinstance(module, Activate):
        name = module.activation.name
    elif isinstance(module, Softmax) and module.places == (1,):
        name = "logsoftmax" if module.logarithm else "softmax"
    else:
        return ""
    if name in _ENDS and any(graph.outputs[0] in other.inputs for other in graph.steps):
        fix = "end it in a layer of its own"
        raise ConfigError(problem("arch.layers", f"the outputs of {step.layer} go into other layers", fix=fix))
    return name if name in _ENDS else ""


def _steps_of_module(graph: Graph, module: str) -> list[Step]:
    return [step for step in graph.steps if step.module == module]


def _own_head(end: End, head: Head) -> nn.Module:
    """Return the head for the task's own target."""
    if end.units == head.size:
        return end.head if end.head is not None else nn.Identity()
    if end.units == 1 and head.size == 2 and end.activation == "sigmoid" and end.head is not None:
        return OneUnit(end.head)
    wrong = f"{end.layer} gives {end.units} outputs, the task has {head.size} classes"
    raise ConfigError(problem("arch.layers", wrong, fix=f"set its units (or filters) to {head.size}"))
