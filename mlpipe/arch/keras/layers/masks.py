"""Steps of a sequence that count for nothing: which of Keras's layers mark them, go by the marks, or hand them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlpipe.arch.keras.layers.norms import StepsBatchNorm
from mlpipe.arch.keras.layers.reading import Keys, Shape
from mlpipe.arch.keras.layers.shapes import Activate
from mlpipe.errors import ConfigError, problem

# Of these Keras 3 gives marks to none that is given states, too.
_OF_STATES = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
# What goes by marks: its module takes them as `masks`, one for each input; and whether marks of the first go on behind it.
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
# Keras would go by marks there in a way that there is none of here.
_REFUSED = ("Softmax", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@dataclass(frozen=True)
class Marks:
    """What a call of a layer has to do with marks of steps.

    Attributes:
        makes: Its module has `marked`, which makes them of its input.
        uses: Its module takes them as `masks`, None where an input has none.
        keeps: Those of its first input hold for its first output.
        joins: `any` or `all`, of those of several inputs.
    """

    makes: bool = False
    uses: bool = False
    keeps: bool = False
    joins: str = ""

    def __bool__(self) -> bool:
        """Whether it has to do with them at all."""
        return self.makes or self.uses or self.keeps or bool(self.joins)

    @property
    def goes_on(self) -> bool:
        """Whether what comes out is marked."""
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
    """What a call has to do with marks.

    Args:
        kind: The layer's class.
        module: Its module.
        marked: Whether each of its inputs has marks.
        shape: Of its first input, channels last.
        place: The layer, for the sentence.
        keras: The major version of Keras.
        norms_by_marks: Whether that version's batch normalisations leave marked steps out of their statistics.

    Raises:
        ConfigError: When Keras would go by marks there in a way that is not supported.
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
    # Of maps Keras 2 takes a fused kernel, which goes by no marks.
    if kind == "BatchNormalization" and norms_by_marks and (keras == 3 or len(shape) == 2):
        # In training; of another axis than the channels there is none that goes by marks.
        if not isinstance(module, StepsBatchNorm):
            raise ConfigError(problem(place, "does not go by marked steps here", fix="set its axis to -1"))
        return Marks(uses=True, keeps=True)
    if kind in _MERGING or kind == "Concatenate":
        if keras == 3 and kind in _MERGING and not all(marked):
            return Marks()
        if kind == "Concatenate" and getattr(module, "place", 1) != 1:
            raise ConfigError(problem(place, "joins marked steps, which is not supported", fix="join their channels"))
        # Keras 3 takes a step that any input has, Keras 2 one that all have; an input without marks has every step.
        unmarked_too = kind == "Concatenate" and not all(marked)
        return Marks() if keras == 3 and unmarked_too else Marks(joins="any" if keras == 3 else "all")
    return Marks(keeps=kind in _KEEPING or isinstance(module, Activate))


def joined(masks: Sequence[Tensor | None], how: str) -> Tensor:
    """Marks of several inputs as one.

    Args:
        masks: Shape (n, steps) each, True for steps that count; None: every step.
        how: `any` or `all`.
    """
    marks = torch.stack([mask for mask in masks if mask is not None])
    return marks.any(0) if how == "any" else marks.all(0)


class Masking(nn.Module):
    """Steps all of whose numbers are one value count for nothing, and become zeros.

    Args:
        value: That value.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, channels, steps)."""
        return x * self.marked(x).unsqueeze(1)

    def marked(self, x: Tensor) -> Tensor:
        """True for steps that count, shape (n, steps)."""
        return (x != self.value).any(1)


def masking(keys: Keys, shape: Shape) -> Masking:
    """Masking, of (steps, channels)."""
    keys.rank(shape, 1)
    return Masking(keys.number("mask_value", 0.0))
