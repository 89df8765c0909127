"""What training asks of a kind: `mlpipe/kinds/*/learn.py` answers, with pure functions of tensors and arrays."""

from __future__ import annotations

from typing import Protocol, cast

from mlpipe import kinds


class Part(Protocol):
    """How one kind of task is learned. Outputs have the shape (n, outputs), or (n, outputs, *spatial) where dense.

    Attributes:
        default_loss: The option of `conf/loss` that `loss=auto` is.
        fitting_losses: Options of `conf/loss` to name to somebody whose loss does not fit.
        is_dense: Whether every pixel is predicted; sums over each image are then kept in place of what is predicted.
        predicts_numbers: Whether outputs are numbers as they are; else they are logits.
        targets_are_class_numbers: Whether one of several classes is true, so that softmax of the outputs gives
            probabilities; else each output has its own sigmoid, unless it is a number.
    """

    default_loss: str
    fitting_losses: tuple[str, ...]
    is_dense: bool
    predicts_numbers: bool
    targets_are_class_numbers: bool


def of(name: str) -> Part:
    """How a kind is learned.

    Args:
        name: The kind's name, one of `kinds.names()`.
    """
    return cast(Part, kinds.part(name, "learn"))
