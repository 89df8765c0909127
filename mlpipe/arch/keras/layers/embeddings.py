"""Keras's Embedding: a learned vector for each integer."""

from __future__ import annotations

from torch import Tensor, nn

from mlpipe.arch.keras.layers.convolutions import Made, same
from mlpipe.arch.keras.layers.layout import first, with_channels_last
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot


class Vectors(nn.Embedding):
    """An embedding; fractional inputs are truncated."""

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, vector, ...) for integers (n, ...) or (n, channels, ...).

        Raises:
            IndexError: When an integer has no vector.
        """
        return first(super().forward(with_channels_last(x).long()))

    def no_weight_decay(self) -> set[str]:
        """Return the name of its vectors, as networks of timm do."""
        return {"weight"}


class MarkedVectors(Vectors):
    """An embedding of steps that masks steps with the number 0."""

    def marked(self, x: Tensor) -> Tensor:
        """Return the step mask, True for steps that count, shape (n, steps)."""
        return x.long() != 0


def embedding(keys: Keys, shape: Shape) -> Made:
    """Embedding."""
    numbers, size = keys.count("input_dim"), keys.count("output_dim")
    keys.value("input_length", 0)
    marks = keys.flag("mask_zero", False)
    if marks and len(shape) != 1:
        keys.wrong("mask_zero", "is for one number at each step", got=shape, fix="set it to false")
    start = keys.initializer("embeddings_initializer", "RandomUniform")
    module = (MarkedVectors if marks else Vectors)(numbers, size)
    return module, {"embeddings": Slot("weight", (numbers, size), same, start)}
