"""Keras networks as torch modules: layers by name, calls in order, inputs and outputs with channels first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mlpipe.arch.keras import layers
from mlpipe.arch.keras.layers.activations import Activation
from mlpipe.arch.keras.layers.layout import keras_shape, stored
from mlpipe.arch.keras.layers.masks import Marks, joined, of_call
from mlpipe.arch.keras.layers.norms import BatchNorm
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot
from mlpipe.arch.keras.layers.recurrent import EachStep
from mlpipe.arch.keras.parsing import INPUTS, Call, Description, Ref, Spec
from mlpipe.errors import ConfigError, first_line, listing, problem

# Default for spatial sizes that the file leaves open, by the number of spatial axes.
_OPEN = {1: 256, 2: 256, 3: 64}
# Maximum number of weights of a layer, or of values per sample; more are a mistake.
_LARGEST = 2**30


@dataclass(frozen=True)
class Step:
    """One call of a layer.

    Attributes:
        layer: Name of the layer in the file.
        module: Name of its module in the network.
        inputs: Numbers of the input tensors.
        outputs: Numbers of the output tensors.
        activation: Activation of the outputs.
        done: Numbers of tensors that are not needed after this call.
        marks: How the call handles step masks.
    """

    layer: str
    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: Activation | None = None
    done: tuple[int, ...] = ()
    marks: Marks = field(default_factory=Marks)


@dataclass
class Layer:
    """Facts about a layer in addition to its module.

    Attributes:
        kind: Its class in Keras.
        module: Name of its module in the network.
        slots: Destinations of Keras's weights in the module.
        shape: Output shape of its first call, channels last.
        trainable: Whether it is trained.
    """

    kind: str
    module: str
    slots: Mapping[str, Slot] = field(default_factory=dict)
    shape: Shape = ()
    trainable: bool = True


class Graph(nn.Module):
    """A Keras network with inputs and outputs of shape (n, channels, ...), or (n, features) without spatial axes.

    Attributes:
        title: Name of the network.
        layers: Layers, including inputs, by their names in the file, in the order of their first calls.
        inputs: Names of the inputs.
        outputs: Numbers of the output tensors.
        steps: The calls.
        names: Name of each tensor for error messages: the layer that computes it.
        shapes: Shape of each tensor, channels last, for the sizes that the network was built with.
    """

    def __init__(self, title: str, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.title, self.inputs = title, inputs
        self.layers: dict[str, Layer] = {}
        self.steps: list[Step] = []
        self.outputs: tuple[int, ...] = ()
        self.names: list[str] = []
        self.shapes: list[Shape] = []
        self.settled: set[str] = set()

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs of the network: one tensor, or a tuple in the order of the file.

        Args:
            tensors: The inputs, in the order of the file.
        """
        values: list[Tensor | None] = [*tensors, *[None] * (len(self.names) - len(tensors))]
        masks: dict[int, Tensor] = {}
        for step in self.steps:
            module, inputs = getattr(self, step.module), [values[number] for number in step.inputs]
            result = module(*inputs) if not step.marks else _by_marks(step, module, inputs, masks)
            for number, value in zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=True):
                values[number] = value if step.activation is None else step.activation(value)
            for number in step.done:
                values[number] = None
        outputs = tuple(values[number] for number in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]  # type: ignore[return-value]

    def train(self, mode: bool = True) -> Graph:
        """Set training mode, except for layers that the file freezes or calls with `training=False`."""
        super().train(mode)
        for name in self.settled:
            self.get_submodule(name).eval()
        return self

    def finish(self, outputs: Sequence[int]) -> None:
        """Set the output tensors, and remove all calls that they do not need.

        Args:
            outputs: Numbers of the tensors.
        """
        self.outputs, needed, steps = tuple(outputs), set(outputs), []
        for step in reversed(self.steps):
            if needed & set(step.outputs):
                last_uses = tuple(number for number in dict.fromkeys(step.inputs) if number not in needed)
                steps.append(replace(step, done=last_uses))
                needed |= set(step.inputs)
        self.steps = steps[::-1]
        used = {step.module for step in self.steps}
        for name in [name for name, _ in self.named_children() if name not in used]:
            delattr(self, name)
        self.settled &= used
        self.layers = {
            name: layer for name, layer in self.layers.items() if layer.module in used or layer.kind in INPUTS
        }


def _by_marks(step: Step, module: nn.Module, inputs: Sequence[Tensor | None], masks: dict[int, Tensor]) -> Any:
    """Run a call that creates, uses or passes on step masks; `masks` holds the mask of each tensor and is updated."""
    own, marks = [masks.get(number) for number in step.inputs], step.marks
    if marks.makes:
        masks[step.outputs[0]] = module.marked(*inputs)  # type: ignore[operator]
    elif marks.joins:
        masks[step.outputs[0]] = joined(own, marks.joins)
    elif marks.keeps and own[0] is not None:
        masks[step.outputs[0]] = own[0]
    return module(*inputs, masks=own) if marks.uses else module(*inputs)


def build(described: Description, shapes: Sequence[Shape | None], *, always_affine: bool = False) -> Graph:
    """Build the module of a network.

    Args:
        described: The network.
        shapes: The shape of each input, channels last, where the file leaves it open; None: not known.
        always_affine: Train scale and offset of all batch normalisations, even where the file has none.

    Raises:
        ConfigError: When the configuration of a layer is wrong, or shapes do not match; names both layers and both shapes.
    """
    graph = Graph(described.name, described.inputs)
    return _Builder(described, graph, always_affine).built(shapes)


class _Builder:
    """State while a network is built: the number of each tensor, and the calls that wait for their inputs."""

    def __init__(self, described: Description, graph: Graph, always_affine: bool) -> None:
        self.described, self.graph, self.always_affine = described, graph, always_affine
        self.specs = {spec.name: spec for spec in described.layers}
        self.numbers: dict[Ref, int] = {}
        self._activations: dict[str, Activation | None] = {}
        # Numbers of tensors with step masks.
        self._marked: set[int] = set()
        self.shift = {spec.name: self._first_call(spec) for spec in described.layers if spec.inside is not None}

    def built(self, shapes: Sequence[Shape | None]) -> Graph:
        for name, shape in zip(self.described.inputs, [*shapes, *[None] * len(self.described.inputs)], strict=False):
            self._add_input(name, shape)
        waiting = [
            (spec, number, call)
            for spec in self.described.layers
            if spec.kind not in INPUTS
            for number, call in enumerate(spec.calls)
        ]
        while waiting:
            left = [entry for entry in waiting if not self._add_call(*entry)]
            if len(left) == len(waiting):
                names = listing(dict.fromkeys(spec.name for spec, _, _ in left), most=5)
                fix = "correct their inbound_nodes"
                raise ConfigError(problem("arch.layers", f"what goes into {names} never comes", fix=fix))
            waiting = left
        outputs = [self._output_ref(ref) for ref in self.described.outputs]
        missing = [ref.layer for ref in outputs if ref not in self.numbers]
        if missing:
            fix = "correct output_layers"
            raise ConfigError(problem("arch.layers", "there is no such output", got=missing[0], fix=fix))
        self.graph.finish([self.numbers[ref] for ref in outputs])
        self._freeze()
        return self.graph

    def _add_input(self, name: str, given: Shape | None) -> None:
        shape = self.described.shapes.get(name)
        if shape is None and given is None:
            fix = "add batch_input_shape to the first layer, such as [null, 28, 28, 1]"
            raise ConfigError(problem(f"arch.layers: {name}", "the shape of what goes in is not known", fix=fix))
        if shape is None:
            shape = given
        assert shape is not None
        usual = (
            given if given is not None and len(given) == len(shape) else [_OPEN.get(len(shape) - 1, 16)] * len(shape)
        )
        whole = tuple(own if own is not None else size for own, size in zip(shape, usual, strict=True))
        self.numbers[Ref(name)] = self._add_tensor(name, whole)
        self.graph.layers[name] = Layer("InputLayer", "", shape=whole)

    def _add_call(self, spec: Spec, number: int, call: Call) -> bool:
        """Add one call to the graph; return False while one of its inputs is missing."""
        refs = [self._shifted_ref(ref) for ref in call.inputs]
        if any(ref not in self.numbers for ref in refs):
            return False
        inputs = tuple(self.numbers[ref] for ref in refs)
        if spec.name not in self.graph.layers:
            self._make(spec, inputs)
        layer = self.graph.layers[spec.name]
        shapes = self._shapes_out(spec, layer, inputs)
        layer.shape = layer.shape or shapes[0]
        outputs = tuple(self._add_tensor(spec.name, shape) for shape in shapes)
        for index, output in enumerate(outputs):
            self.numbers[Ref(spec.name, number, index)] = output
        marks = of_call(
            spec.kind,
            self.graph.get_submodule(layer.module),
            [number in self._marked for number in inputs],
            self.graph.shapes[inputs[0]],
            f"arch.layers: {spec.name} ({spec.kind})",
            self.described.keras,
            norms_by_marks=self.described.norms_by_marks,
        )
        if marks.goes_on:
            self._marked.add(outputs[0])
        activation = self._activations.get(spec.name)
        self.graph.steps.append(Step(spec.name, layer.module, inputs, outputs, activation, marks=marks))
        if call.flags != spec.calls[0].flags:
            wrong, flags = (
                "is called in two ways, of which it can have one",
                dict(call.flags) or dict(spec.calls[0].flags),
            )
            fix = "use two layers"
            raise ConfigError(problem(f"arch.layers: {spec.name} ({spec.kind})", wrong, got=listing(flags), fix=fix))
        if call.inference:
            if not all(other_call.inference for other_call in spec.calls):
                wrong = "is called with training=False and without"
                fix = "call it one way only"
                raise ConfigError(problem(f"arch.layers: {spec.name} ({spec.kind})", wrong, fix=fix))
            self.graph.settled.add(layer.module)
        return True

    def _make(self, spec: Spec, inputs: tuple[int, ...]) -> None:
        """Create a layer's module for its first call, with new weights."""
        shapes = [self.graph.shapes[number] for number in inputs]
        slots: Mapping[str, Slot] = {}
        if spec.inside is not None:
            steps = spec.kind == layers.STEPS
            shapes = [shape[1:] for shape in shapes] if steps else shapes
            inside = build(
                self._inner_description(spec, spec.inside, inputs, shapes), shapes, always_affine=self.always_affine
            )
            module: nn.Module = EachStep(inside) if steps else inside
            self._activations[spec.name] = None
        else:
            call = spec.calls[0]
            config = {**spec.config, "constants": call.constants} if call.constants else spec.config
            config = {**config, **dict(call.flags)} if call.flags else config
            keys = Keys(spec.name, spec.kind, config, self.described.keras)
            self._check_size(keys, shapes)
            module, slots, self._activations[spec.name] = layers.build(keys, shapes)
            _draw_weights(module, slots)
        name = _module_name(self.graph, spec.name)
        self.graph.add_module(name, module)
        trainable = spec.config.get("trainable") is not False
        self.graph.layers[spec.name] = Layer(spec.kind, name, slots, trainable=trainable)

    def _check_size(self, keys: Keys, shapes: Sequence[Shape]) -> None:
        """Build a layer on the meta device first, so that one that is too large is refused before it takes memory."""
        try:
            with torch.device("meta"):
                module, _, _ = layers.build(keys, shapes)
            size = sum(parameter.numel() for parameter in module.parameters())
        except RuntimeError:
            size = _LARGEST
        if size >= _LARGEST:
            wrong = f"has {_LARGEST:,} weights or more"
            raise ConfigError(problem(keys.place, wrong, fix="make it smaller"))

    def _inner_description(
        self, spec: Spec, inside: Description, inputs: tuple[int, ...], shapes: Sequence[Shape]
    ) -> Description:
        """Return the description of a nested network for its inputs here."""
        if len(inputs) != len(inside.inputs):
            wrong = f"has {len(inside.inputs)} inputs, {len(inputs)} are given"
            raise ConfigError(
                problem(f"arch.layers: {spec.name} ({spec.kind})", wrong, fix="correct its inbound_nodes")
            )
        for name, number, shape in zip(inside.inputs, inputs, shapes, strict=True):
            own = inside.shapes.get(name)
            fits = own is None or (
                len(own) == len(shape) and all(a in (None, b) for a, b in zip(own, shape, strict=True))
            )
            if not fits:
                place = f"arch.layers: {spec.name} ({spec.kind})"
                wrong = f"takes {own} as {name}, {self.graph.names[number]} gives {shape}"
                raise ConfigError(problem(place, wrong, fix="make the shapes agree"))
        return replace(inside, keras=self.described.keras, norms_by_marks=self.described.norms_by_marks)

    def _shapes_out(self, spec: Spec, layer: Layer, inputs: tuple[int, ...]) -> list[Shape]:
        """Return the output shapes of a call, computed with tensors on the meta device, which hold no values."""
        module = self.graph.get_submodule(layer.module).eval()
        descriptions = [f"{self.graph.names[number]} {self.graph.shapes[number]}" for number in inputs]
        place = f"arch.layers: {spec.name} ({spec.kind})"
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
        tensors = tuple(torch.empty(1, *stored(self.graph.shapes[number]), device="meta") for number in inputs)
        try:
            with torch.no_grad():
                outputs = torch.func.functional_call(module, empty, tensors)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = first_line(error)
            does = "cannot join" if layers.is_joining(spec.kind) else "cannot take"
            fix = "make the shapes agree"
            raise ConfigError(problem(place, f"{does} {' and '.join(descriptions)} ({reason})", fix=fix)) from error
        output_shapes = [
            keras_shape(tuple(output.shape[1:])) for output in (outputs if isinstance(outputs, tuple) else (outputs,))
        ]
        if any(math.prod(shape) >= _LARGEST for shape in output_shapes):
            wrong = f"gives {_LARGEST:,} numbers or more of one image"
            raise ConfigError(problem(place, wrong, got=output_shapes[0], fix="make it smaller"))
        if any(size < 1 for shape in output_shapes for size in shape):
            fix = "make what goes in larger"
            raise ConfigError(
                problem(place, f"leaves nothing of {' and '.join(descriptions)}", got=output_shapes[0], fix=fix)
            )
        return output_shapes

    def _add_tensor(self, name: str, shape: Shape) -> int:
        self.graph.names.append(name)
        self.graph.shapes.append(shape)
        return len(self.graph.names) - 1

    def _shifted_ref(self, ref: Ref) -> Ref:
        return replace(ref, call=ref.call - self.shift.get(ref.layer, 0))

    def _output_ref(self, ref: Ref) -> Ref:
        """Return an output tensor; Keras 3 counts the calls of a Functional from 1 here, and from 0 elsewhere."""
        spec = self.specs.get(ref.layer)
        if self.described.keras == 3 and spec is not None and spec.kind in ("Functional", "Model") and ref.call:
            return replace(ref, call=ref.call - 1)
        return self._shifted_ref(ref)

    def _first_call(self, spec: Spec) -> int:
        """Return the number of the first call; Keras 2 counts from 1 for a nested network that was called when it was created."""
        if self.described.keras == 3:
            return 0
        inputs = [ref for layer in self.described.layers for call in layer.calls for ref in call.inputs]
        used = [ref.call for ref in (*inputs, *self.described.outputs) if ref.layer == spec.name]
        return 1 if used and min(used) > 0 and max(used) >= len(spec.calls) else 0

    def _freeze(self) -> None:
        """Freeze the layers that the file marks as not trainable; frozen batch normalisations use their moving statistics."""
        for layer in self.graph.layers.values():
            if layer.kind in INPUTS:
                continue
            module = self.graph.get_submodule(layer.module)
            if self.always_affine:
                _let_learn(module)
            if not (layer.trainable and self.described.trainable):
                layer.trainable = False
                module.requires_grad_(False)
                norms = [
                    f"{layer.module}.{name}".rstrip(".")
                    for name, inner in module.named_modules()
                    if isinstance(inner, BatchNorm)
                ]
                self.graph.settled.update(norms)
        self.graph.train()


def _draw_weights(module: nn.Module, slots: Mapping[str, Slot]) -> None:
    """Initialise new weights as Keras does."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for slot in {slot.tensor: slot for slot in slots.values()}.values():
        if slot.initializer is not None and state[slot.tensor].numel():
            with torch.no_grad():
                state[slot.tensor].copy_(slot.convert(slot.initializer.draw(slot.shape)))


def _let_learn(module: nn.Module) -> None:
    """Turn the constant scale and offset of batch normalisations into parameters."""
    for norm in [inner for inner in module.modules() if isinstance(inner, BatchNorm)]:
        for name, value in (("weight", torch.ones), ("bias", torch.zeros)):
            if not isinstance(getattr(norm, name), nn.Parameter):
                delattr(norm, name)
                norm.register_parameter(name, nn.Parameter(value(norm.num_features)))
        norm.affine = True


def _module_name(graph: nn.Module, name: str) -> str:
    """Return a valid torch module name for a layer: without dots, and different from attributes of a module."""
    plain = name.replace(".", "_") or "layer"
    while hasattr(graph, plain):
        plain += "_"
    return plain
