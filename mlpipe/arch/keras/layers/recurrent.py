"""Keras's layers over the steps of a sequence: LSTM, GRU and SimpleRNN, one way or both, and any layer at each step.

Source: the documentation of `keras.layers`; Hochreiter and Schmidhuber 1997, Cho et al. 2014. Sequences are
(n, channels, steps), channels second as everywhere in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.activations import Activation
from mlpipe.arch.keras.layers.convolutions import Made, same, transposed_kernel
from mlpipe.arch.keras.layers.initializers import Initializer
from mlpipe.arch.keras.layers.noise import share
from mlpipe.arch.keras.layers.reading import Inner, Keys, Shape, Slot
from mlpipe.arch.keras.layers.shapes import Activate, Softmax
from mlpipe.errors import counted, listing

# Maximum number of steps: they are computed sequentially, and a file with more would take hours.
_MOST_STEPS = 20_000


@dataclass(frozen=True)
class Options:
    """Options of a recurrent layer.

    Attributes:
        activation: Activation of the candidate values.
        gate: Activation of the gates.
        is_backwards: Start with the last step; outputs are in the order of computation.
        whole: Return the outputs of all steps, (n, units, steps), instead of the last one, (n, units).
        states: Also return the last states, (n, units) each.
        reset_after: For a GRU: apply the reset gate after the recurrent weights.
        dropout: Dropout rate of the inputs, with the same mask at every step.
        recurrent_dropout: Dropout rate of the states, with the same mask at every step.
        for_each_gate: Use another dropout mask for each gate.
        zeros: Output zeros at masked steps instead of the previous output.
    """

    activation: Activation
    gate: Activation
    is_backwards: bool = False
    whole: bool = False
    states: bool = False
    reset_after: bool = True
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    for_each_gate: bool = False
    zeros: bool = False


@dataclass(frozen=True)
class ForgetBias(Initializer):
    """Initializer of an LSTM's bias with ones for the forget gate, the second of four blocks."""

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Return new weights, shape (4 units,)."""
        drawn, units = super().draw(shape), shape[0] // 4
        drawn[units : 2 * units] = 1.0
        return drawn


class Recurrent(nn.Module):
    """A recurrent layer, SimpleRNN: the new state is the activation of the summed input and state terms.

    Args:
        inputs: Channels of each step.
        units: Size of the state.
        bias: Whether there is a bias.
        options: Options of the recurrence.

    Attributes:
        GATES: Number of blocks of units in its weights.
        STATES: Number of states.
    """

    GATES, STATES = 1, 1

    def __init__(self, inputs: int, units: int, bias: bool, options: Options) -> None:
        super().__init__()
        self.units, self.options = units, options
        self.weight = nn.Parameter(torch.zeros(self.GATES * units, inputs))
        self.recurrent = nn.Parameter(torch.zeros(self.GATES * units, units))
        self.bias = nn.Parameter(torch.zeros(self.bias_shape)) if bias else None

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape of its bias in Keras."""
        return (self.GATES * self.units,)

    @property
    def keeps_marks(self) -> bool:
        """Whether the step mask applies to the output, that is, whether the output has steps."""
        return self.options.whole

    def forward(self, x: Tensor, *states: Tensor, masks: Sequence[Tensor | None] = ()) -> Tensor | tuple[Tensor, ...]:
        """Return the last output (n, units), or those of all steps (n, units, steps), followed by the states if requested.

        Args:
            x: Shape (n, channels, steps).
            states: Initial states, (n, units) each; none: zeros.
            masks: The mask of `x`, True for steps that count, (n, steps): at others states and outputs stay unchanged.
        """
        steps, mask = x.movedim(-1, 0), masks[0] if masks else None
        marks = None if mask is None else mask.T.unsqueeze(-1)
        if self.options.is_backwards:
            steps, marks = steps.flip(0), None if marks is None else marks.flip(0)
        gate_inputs = self._projected(steps)
        # Not `len(x)`, which would fix the batch size in an exported file.
        states = states or tuple(x.new_zeros(x.shape[0], self.units) for _ in range(self.STATES))
        dropped = self._dropout_masks(states[0], self.options.recurrent_dropout)
        outputs, output = [], torch.zeros_like(states[0])
        for number, gate_input in enumerate(gate_inputs):
            after = self._step(gate_input, states, dropped)
            if marks is None:
                states, output = after, after[0]
            else:
                states = tuple(torch.where(marks[number], *pair) for pair in zip(after, states, strict=True))
                output = torch.where(
                    marks[number], after[0], torch.zeros_like(output) if self.options.zeros else output
                )
            outputs.append(output)
        result = torch.stack(outputs, 2) if self.options.whole else outputs[-1]
        return (result, *states) if self.options.states else result

    def _step(self, given: Tensor, states: tuple[Tensor, ...], dropped: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the states after a step, the output first, from the input terms of the gates and the previous states."""
        return (self.options.activation(given + self._state_terms(states[0], dropped)),)

    def _projected(self, steps: Tensor) -> Tensor:
        """Return the input terms of the gates for inputs (steps, n, channels), shape (steps, n, gates x units)."""
        bias = self.bias if self.bias is None or self.bias.ndim == 1 else self.bias[0]
        dropped = self._dropout_masks(steps[0], self.options.dropout)
        if len(dropped) < 2:
            return F.linear(steps * dropped[0] if dropped else steps, self.weight, bias)
        parts = zip(dropped, self.weight.chunk(self.GATES), strict=True)
        joined = torch.cat([F.linear(steps * mask, weight) for mask, weight in parts], -1)
        return joined if bias is None else joined + bias

    def _dropout_masks(self, like: Tensor, rate: float) -> Sequence[Tensor]:
        """Return dropout factors, one for each gate or one for all; empty without dropout."""
        if not self.training or rate == 0:
            return ()
        count = self.GATES if self.options.for_each_gate else 1
        return [F.dropout(torch.ones_like(like), rate) for _ in range(count)]

    def _state_terms(self, state: Tensor, dropped: Sequence[Tensor], blocks: slice = slice(None)) -> Tensor:
        """Return the state terms of some of the gates."""
        weights = self.recurrent.chunk(self.GATES)[blocks]
        if not dropped:
            return F.linear(state, torch.cat(weights))
        masks = (dropped if len(dropped) > 1 else [dropped[0]] * self.GATES)[blocks]
        return torch.cat([F.linear(state * mask, weight) for mask, weight in zip(masks, weights, strict=True)], 1)


class Lstm(Recurrent):
    """A long short-term memory; its states are its output and its cell state."""

    GATES, STATES = 4, 2

    def _step(self, given: Tensor, states: tuple[Tensor, ...], dropped: Sequence[Tensor]) -> tuple[Tensor, ...]:
        options = self.options
        enter, forget, new, leave = (given + self._state_terms(states[0], dropped)).chunk(4, 1)
        carried = options.gate(forget) * states[1] + options.gate(enter) * options.activation(new)
        return options.gate(leave) * options.activation(carried), carried


class Gru(Recurrent):
    """A gated recurrent unit; with `reset_after` its bias has a row for inputs and one for states."""

    GATES = 3

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape of its bias in Keras."""
        return (2, 3 * self.units) if self.options.reset_after else (3 * self.units,)

    def _step(self, given: Tensor, states: tuple[Tensor, ...], dropped: Sequence[Tensor]) -> tuple[Tensor, ...]:
        (state,), options = states, self.options
        update, reset, new = given.chunk(3, 1)
        if options.reset_after:
            inner = self._state_terms(state, dropped)
            inner = inner if self.bias is None else inner + self.bias[1]
            inner_update, inner_reset, inner_new = inner.chunk(3, 1)
            reset = options.gate(reset + inner_reset)
            inner_new = reset * inner_new
        else:
            inner_update, inner_reset = self._state_terms(state, dropped, slice(2)).chunk(2, 1)
            reset = options.gate(reset + inner_reset)
            inner_new = self._state_terms(reset * state, dropped, slice(2, 3))
        update = options.gate(update + inner_update)
        return (update * state + (1 - update) * options.activation(new + inner_new),)


# Layers by their Keras names.
LAYERS: dict[str, type[Recurrent]] = {"SimpleRNN": Recurrent, "LSTM": Lstm, "GRU": Gru}


_JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda one, other: torch.cat([one, other], 1),
    "sum": torch.add,
    "mul": torch.mul,
    "ave": lambda one, other: (one + other) / 2,
}


class BothWays(nn.Module):
    """Two recurrent layers, one in each direction.

    Args:
        forward_layer: The layer that starts with the first step.
        backward_layer: The layer that starts with the last step.
        merge: `concat`, `sum`, `mul` or `ave`.
    """

    def __init__(self, forward_layer: Recurrent, backward_layer: Recurrent, merge: str) -> None:
        super().__init__()
        self.forward_layer, self.backward_layer, self.merge = forward_layer, backward_layer, merge

    @property
    def keeps_marks(self) -> bool:
        """As in `Recurrent`."""
        return self.forward_layer.keeps_marks

    def forward(self, x: Tensor, *states: Tensor, masks: Sequence[Tensor | None] = ()) -> Tensor | tuple[Tensor, ...]:
        """As in `Recurrent`; `concat` has twice the units, and the states of both layers follow.

        Args:
            x: Shape (n, channels, steps).
            states: Those of the first layer, then those of the second.
            masks: As in `Recurrent`.
        """
        half = len(states) // 2
        forward_outputs = _as_tuple(self.forward_layer(x, *states[:half], masks=masks))
        back = _as_tuple(self.backward_layer(x, *states[half:], masks=masks))
        # The outputs of the backward layer are in reverse order.
        second = back[0].flip(2) if self.backward_layer.options.whole else back[0]
        output = _JOINS[self.merge](forward_outputs[0], second)
        return (output, *forward_outputs[1:], *back[1:]) if len(forward_outputs) > 1 else output


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


class EachStep(nn.Module):
    """Applies a layer to each step separately.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, steps, ...)."""
        outputs: Tensor = self.layer(x.movedim(2, 1).flatten(0, 1))
        return outputs.reshape(x.shape[0], x.shape[2], *outputs.shape[1:]).movedim(1, 2)


def recurrent(keys: Keys, shapes: Sequence[Shape]) -> Made:
    """LSTM, GRU, SimpleRNN; `unroll` and `implementation` do not change results."""
    layer, shape = LAYERS[keys.kind], shapes[0]
    inputs, units, bias = keys.rank(shape, 1), keys.count("units"), keys.flag("use_bias", True)
    if shape[0] > _MOST_STEPS:
        keys.wrong("input", f"has more than {_MOST_STEPS:,} steps", got=shape, fix="pool or convolve it first")
    for key in ("stateful", "time_major"):
        keys.only(key, False)
    keys.value("unroll", False)
    has_gates, by_gate = layer.GATES > 1, keys.value("implementation", 2) == 1
    activation, recurrent_dropout = keys.function("activation", "tanh"), share(keys, "recurrent_dropout", 0.0)
    options = Options(
        activation,
        keys.function("recurrent_activation", "sigmoid") if has_gates else activation,
        is_backwards=keys.flag("go_backwards", False),
        whole=keys.flag("return_sequences", False),
        states=keys.flag("return_state", False),
        reset_after=layer is Gru and keys.flag("reset_after", True),
        dropout=share(keys, "dropout", 0.0),
        recurrent_dropout=recurrent_dropout,
        for_each_gate=has_gates and (recurrent_dropout > 0 or by_gate),
        zeros=keys.flag("zero_output_for_mask", False),
    )
    module, width = layer(inputs, units, bias, options), layer.GATES * units
    check_states(keys, shapes[1:], (units,), layer.STATES)
    first, second = (
        keys.initializer(f"{key}_initializer", default)
        for key, default in (("kernel", "GlorotUniform"), ("recurrent", "Orthogonal"))
    )
    slots = {
        "kernel": Slot("weight", (inputs, width), transposed_kernel, first),
        "recurrent_kernel": Slot("recurrent", (units, width), transposed_kernel, second),
    }
    start = keys.initializer("bias_initializer", "Zeros")
    if layer is Lstm and keys.flag("unit_forget_bias", True):
        start = ForgetBias(start.name, start.options)
    return module, slots | ({"bias": Slot("bias", module.bias_shape, same, start)} if bias else {})


def check_states(keys: Keys, states: Sequence[Shape], shape: Shape, count: int) -> None:
    """Require that the initial states of a layer are complete and have the right shape.

    Args:
        keys: The layer's configuration.
        states: Shapes of the given states; none: it starts from zeros.
        shape: The required shape of each.
        count: The required number.

    Raises:
        ConfigError: When other states are given.
    """
    if states and list(states) != [shape] * count:
        wrong = f"must be {counted(count, 'state')} of shape {shape}"
        keys.wrong("initial_state", wrong, got=listing(states), fix="give it what a layer of as many units returns")


def bidirectional(keys: Keys, shapes: Sequence[Shape], inner: Inner) -> Made:
    """Bidirectional, around a recurrent layer."""
    shape = shapes[0]
    merge = keys.choice("merge_mode", tuple(_JOINS), "concat")
    if "merge_mode" in keys.config and keys.config["merge_mode"] is None:
        keys.wrong("merge_mode", "of two outputs is not supported", fix=f"use {listing(_JOINS)}")
    node = keys.value("layer")
    second = keys.value("backward_layer", None) or _reversed_layer(node)
    module, slots = _recurrent(keys, "layer", node, shape, inner)
    other, other_slots = _recurrent(keys, "backward_layer", second, shape, inner)
    if module.options.is_backwards == other.options.is_backwards:
        keys.wrong("backward_layer", "must have another go_backwards than layer", got=other.options.is_backwards)
    if (module.options.whole, module.options.states) != (other.options.whole, other.options.states):
        keys.wrong("backward_layer", "must have the return_sequences and return_state of layer")
    if states := shapes[1:]:
        for number, layer in enumerate((module, other)):
            half = states[number * layer.STATES : (number + 1) * layer.STATES]
            check_states(keys, half or [()], (layer.units,), layer.STATES)
        if len(states) != module.STATES + other.STATES:
            keys.wrong("initial_state", f"must be {counted(module.STATES + other.STATES, 'state')}", got=len(states))
    if merge != "concat" and module.units != other.units:
        keys.wrong("backward_layer", f"must have {counted(module.units, 'unit')}", got=other.units)
    # Output sequences of both are zero at masked steps, whatever the layers' options.
    for layer in (module, other):
        layer.options = replace(layer.options, zeros=layer.options.whole)
    return BothWays(module, other, merge), {
        **{f"forward_{name}": slot.inside("forward_layer") for name, slot in slots.items()},
        **{f"backward_{name}": slot.inside("backward_layer") for name, slot in other_slots.items()},
    }


def time_distributed(keys: Keys, shape: Shape, inner: Inner) -> tuple[nn.Module, dict[str, Slot], Activation | None]:
    """TimeDistributed, and the activation that follows it, applied to all steps at once.

    Batch normalisations see all steps together.
    """
    if len(shape) < 2:
        keys.wrong("layer", "needs an input of shape (steps, ...)", got=shape)
    module, slots, activation = inner("layer", keys.value("layer"), shape[1:])
    if isinstance(module, Activate) or (isinstance(module, Softmax) and module.places == (1,)):
        return module, slots, activation
    return EachStep(module), {name: slot.inside("layer") for name, slot in slots.items()}, activation


def _recurrent(keys: Keys, key: str, given: Any, shape: Shape, inner: Inner) -> tuple[Recurrent, dict[str, Slot]]:
    module, slots, _ = inner(key, given, shape)
    if not isinstance(module, Recurrent):
        got = given.get("class_name") if isinstance(given, dict) else given
        keys.wrong(key, f"must be one of {listing(LAYERS)}", got=got)
    return module, slots


def _reversed_layer(layer: Any) -> Any:
    """Return a layer's description with the direction reversed."""
    config = layer.get("config") if isinstance(layer, dict) else None
    if not isinstance(layer, dict) or not isinstance(config, dict):
        return layer
    return {**layer, "config": {**config, "go_backwards": not config.get("go_backwards", False)}}
