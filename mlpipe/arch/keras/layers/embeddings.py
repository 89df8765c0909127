"""Keras's Embedding: a vector that is learned for each whole number."""

from __future__ import annotations

from torch import Tensor, nn

from mlpipe.arch.keras.layers.convolutions import Made, same
from mlpipe.arch.keras.layers.layout import first, last
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot


class Vectors(nn.Embedding):
    """A vector for each number; fractions are cut off."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, vector, ...), of numbers (n, ...) or (n, channels, ...).

        Raises:
            IndexError: When a number has no vector.
        """
        return first(super().forward(last(x).long()))

    def no_weight_decay(self) -> set[str]:
        """Its vectors, as in networks of timm."""
        return {"weight"}


def embedding(keys: Keys, shape: Shape) -> Made:
    """Embedding, without masks."""
    numbers, size = keys.count("input_dim"), keys.count("output_dim")
    keys.value("input_length", 0)
    keys.only("mask_zero", False, fix="set it to false: steps are not left out here")
    start = keys.initializer("embeddings_initializer", "RandomUniform")
    return Vectors(numbers, size), {"embeddings": Slot("weight", (numbers, size), same, start)}
