"""Keras's ConvLSTM1D to 3D: LSTMs whose states are feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.convolutions import Made, PaddedConv, same, transposed_kernel
from mlpipe.arch.keras.layers.noise import share
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot
from mlpipe.arch.keras.layers.recurrent import ForgetBias, Options, check_states


class ConvLstm(nn.Module):
    """A convolutional LSTM (Shi et al. 2015, without peepholes).

    Args:
        given: The convolution of the inputs, with a block of maps for each gate.
        recurred: The convolution of the states.
        options: Options of the recurrence; dropout is drawn for each gate.
    """

    def __init__(self, given: PaddedConv, recurred: PaddedConv, options: Options) -> None:
        super().__init__()
        self.given, self.recurred, self.options = given, recurred, options

    def forward(self, x: Tensor, *states: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the last maps (n, filters, ...), or those of all steps (n, filters, steps, ...), followed by the states.

        Args:
            x: Shape (n, channels, steps, ...).
            states: Initial states, (n, filters, ...) each; none: zeros.
        """
        options, steps = self.options, x.movedim(2, 0)
        outputs: list[Tensor] = []
        wet, state_masks = _drawn(steps[0], options.dropout, self.training), None
        for step in steps.flip(0) if options.is_backwards else steps:
            entered = self._of_gates(self.given, step, wet)
            if not states:
                # Zeros in the output shape of the first convolution.
                states = (torch.zeros_like(entered.chunk(4, 1)[0]),) * 2
            if state_masks is None:
                state_masks = _drawn(states[0], options.recurrent_dropout, self.training)
            enter, forget, new, leave = (entered + self._of_gates(self.recurred, states[0], state_masks)).chunk(4, 1)
            carried = options.gate(forget) * states[1] + options.gate(enter) * options.activation(new)
            states = (options.gate(leave) * options.activation(carried), carried)
            outputs.append(states[0])
        maps = torch.stack(outputs, 2) if options.whole else outputs[-1]
        return (maps, *states) if options.states else maps

    def _of_gates(self, layer: PaddedConv, x: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """Convolve maps that may have another dropout mask for each gate."""
        if not masks:
            maps: Tensor = layer(x)
            return maps
        parts = [layer(x * mask).chunk(4, 1)[number] for number, mask in enumerate(masks)]
        return torch.cat(parts, 1)


def _drawn(like: Tensor, rate: float, is_training: bool) -> Sequence[Tensor]:
    return [F.dropout(torch.ones_like(like), rate) for _ in range(4)] if is_training and rate else ()


def conv_lstm(keys: Keys, shapes: Sequence[Shape], dims: int) -> Made:
    """ConvLSTM1D to 3D."""
    channels = keys.rank(shapes[0], dims + 1)
    keys.channels_last()
    filters, bias = keys.count("filters"), keys.flag("use_bias", True)
    kernel, strides, dilation = (
        keys.sizes("kernel_size", dims),
        keys.sizes("strides", dims, 1),
        keys.sizes("dilation_rate", dims, 1),
    )
    for key in ("stateful", "zero_output_for_mask", "time_major"):
        keys.only(key, False)
    keys.value("unroll", False)
    pads = None if keys.choice("padding", ("valid", "same"), "valid") == "same" else ((0, 0),) * dims
    options = Options(
        keys.function("activation", "tanh"),
        keys.function("recurrent_activation", "hard_sigmoid" if keys.keras == 2 else "sigmoid"),
        is_backwards=keys.flag("go_backwards", False),
        whole=keys.flag("return_sequences", False),
        states=keys.flag("return_state", False),
        dropout=share(keys, "dropout", 0.0),
        recurrent_dropout=share(keys, "recurrent_dropout", 0.0),
    )
    input_conv = PaddedConv(torch.zeros(4 * filters, channels, *kernel), bias, strides, dilation, 1, pads)
    recurred = PaddedConv(torch.zeros(4 * filters, filters, *kernel), False, (1,) * dims, (1,) * dims, 1, None)
    if len(shapes) > 1:
        check_states(keys, shapes[1:], (*shapes[1][:-1], filters), 2)
    start = keys.initializer("bias_initializer", "Zeros")
    if keys.flag("unit_forget_bias", True):
        start = ForgetBias(start.name, start.options)
    first = keys.initializer("kernel_initializer", "GlorotUniform")
    second = keys.initializer("recurrent_initializer", "Orthogonal")
    slots = {
        "kernel": Slot("given.weight", (*kernel, channels, 4 * filters), transposed_kernel, first),
        "recurrent_kernel": Slot("recurred.weight", (*kernel, filters, 4 * filters), transposed_kernel, second),
    }
    return ConvLstm(input_conv, recurred, options), slots | (
        {"bias": Slot("given.bias", (4 * filters,), same, start)} if bias else {}
    )
