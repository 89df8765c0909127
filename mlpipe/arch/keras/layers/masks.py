"""Step masks of sequences: which layers of Keras create, use or pass on the mask of steps that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlpipe.arch.keras.layers.norms import StepsBatchNorm
from mlpipe.arch.keras.layers.reading import Keys, Shape
from mlpipe.arch.keras.layers.shapes import Activate
from mlpipe.errors import ConfigError, problem

# Keras 3 passes no mask to these layers when they get initial states.
_OF_STATES = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
# Layers that use masks: their module takes them as `masks`, one for each input.
USING = (
    *(*_OF_STATES, "MultiHeadAttention", "Attention", "AdditiveAttention"),
    "GlobalAveragePooling1D",
)
_MERGING = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
_KEEPING = frozenset(
    (
        *("Dense", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Activation", "ReLU", "LeakyReLU"),
        *("ELU", "PReLU", "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization"),
        *("Normalization", "Rescaling", "Identity", "ActivityRegularization", "SpatialDropout1D", "TimeDistributed"),
    )
)
# Keras uses masks in these layers in a way that is not supported here.
_REFUSED = ("Softmax", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@dataclass(frozen=True)
class Marks:
    """How a call of a layer handles step masks.

    Attributes:
        makes: Its module has a method `marked` that computes the mask from its input.
        uses: Its module takes `masks`, with None for an input without a mask.
        keeps: The mask of the first input applies to the first output.
        joins: `any` or `all`, the way to combine the masks of several inputs.
    """

    makes: bool = False
    uses: bool = False
    keeps: bool = False
    joins: str = ""

    def __bool__(self) -> bool:
        """Return whether the call handles masks at all."""
        return self.makes or self.uses or self.keeps or bool(self.joins)

    @property
    def goes_on(self) -> bool:
        """Whether the output has a mask."""
        return self.makes or self.keeps or bool(self.joins)


def of_call(
    kind: str,
    module: nn.Module,
    marked: Sequence[bool],
    shape: Shape,
    place: str,
    keras: int,
    *,
    norms_by_marks: bool = True,
) -> Marks:
    """Return how a call handles masks.

    Args:
        kind: Class of the layer.
        module: Its module.
        marked: Whether each of its inputs has a mask.
        shape: Shape of its first input, channels last.
        place: The layer, for the error message.
        keras: The major version of Keras.
        norms_by_marks: Whether that version's batch normalisations exclude masked steps from their statistics.

    Raises:
        ConfigError: When Keras would use the mask in a way that is not supported.
    """
    if hasattr(module, "marked"):
        return Marks(makes=True)
    if not any(marked):
        return Marks()
    several = any(hasattr(submodule, "steps") and hasattr(submodule, "layers") for submodule in module.modules())
    if kind in _REFUSED or several or (kind == "TimeDistributed" and len(shape) > 2):
        fix = "set mask_zero to false, or leave Masking out"
        raise ConfigError(problem(place, "does not go by marked steps here", fix=fix))
    if kind in USING:
        keeps = bool(getattr(module, "keeps_marks", False)) and marked[0]
        return Marks(uses=keras == 2 or kind not in _OF_STATES or len(marked) == 1, keeps=keeps)
    # For maps Keras 2 uses a fused kernel, which ignores masks.
    if kind == "BatchNormalization" and norms_by_marks and (keras == 3 or len(shape) == 2):
        # Masks matter in training; normalisation along another axis than the channels does not support them.
        if not isinstance(module, StepsBatchNorm):
            raise ConfigError(problem(place, "does not go by marked steps here", fix="set its axis to -1"))
        return Marks(uses=True, keeps=True)
    if kind in _MERGING or kind == "Concatenate":
        if keras == 3 and kind in _MERGING and not all(marked):
            return Marks()
        if kind == "Concatenate" and getattr(module, "place", 1) != 1:
            raise ConfigError(problem(place, "joins marked steps, which is not supported", fix="join their channels"))
        # Keras 3 keeps steps that any input has, Keras 2 those that all have; an input without a mask has every step.
        unmarked_too = kind == "Concatenate" and not all(marked)
        return Marks() if keras == 3 and unmarked_too else Marks(joins="any" if keras == 3 else "all")
    return Marks(keeps=kind in _KEEPING or isinstance(module, Activate))


def joined(masks: Sequence[Tensor | None], how: str) -> Tensor:
    """Combine the masks of several inputs.

    Args:
        masks: Shape (n, steps) each, True for steps that count; None: every step.
        how: `any` or `all`.
    """
    marks = torch.stack([mask for mask in masks if mask is not None])
    return marks.any(0) if how == "any" else marks.all(0)


class Masking(nn.Module):
    """Masks steps whose values all equal one value, and sets them to zero.

    Args:
        value: That value.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, steps)."""
        return x * self.marked(x).unsqueeze(1)

    def marked(self, x: Tensor) -> Tensor:
        """Return the step mask, True for steps that count, shape (n, steps)."""
        return (x != self.value).any(1)


def masking(keys: Keys, shape: Shape) -> Masking:
    """Masking, for (steps, channels)."""
    keys.rank(shape, 1)
    return Masking(keys.number("mask_value", 0.0))
