"""Classes, labels or numbers as targets of items of user code, and their number of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.data import items as protocol
from mlpipe.data.sources.targets import class_numbers
from mlpipe.data.task import Row
from mlpipe.errors import DataError, counted, listing, problem


def check_heads(heads: Sequence[Mapping[str, Any]], kind: str) -> None:
    """Refuse heads that are incomplete, or for another kind than regression.

    Args:
        heads: As for `mlpipe.data.sources.items`.
        kind: What is predicted.

    Raises:
        DataError: If they are wrong.
    """
    if kind != "regression":
        raise DataError(problem("task.heads", "is for task.kind=regression", got=kind, fix="leave it out"))
    for number, head in enumerate(heads):
        width = head.get("outputs")
        if set(head) != {"outputs", "activation"} or not isinstance(width, int) or isinstance(width, bool) or width < 1:
            fix = "for example {outputs: 4, activation: softmax}"
            raise DataError(problem(f"task.heads[{number}]", "needs outputs and activation", got=dict(head), fix=fix))


def target_of(item: Any, kind: str, outputs: int | None, where: str) -> int | tuple[float, ...]:
    """Return the target of an item in the form of a task.

    Args:
        item: The item.
        kind: What is predicted: classification, multilabel or regression.
        outputs: The wanted number of outputs; None: as many as there are.
        where: The item's name in error messages.

    Raises:
        DataError: If it does not fit the kind, or has another number of outputs.
    """
    target = protocol.target_of(item, where)
    if outputs is not None and len(target) != outputs and not (kind == "classification" and len(target) == 1):
        wrong = f"{where}: its y has {counted(len(target), 'number')}, {outputs} are wanted"
        fix = "let y have one number for each class, or say how many there are"
        raise DataError(problem("task.outputs", wrong, fix=fix))
    if kind == "regression":
        return tuple(target.tolist())
    if kind == "multilabel":
        if not np.isin(target, (0, 1)).all():
            raise DataError(problem(where, "its y is not 0 and 1", got=target.tolist(), fix="use 0 and 1"))
        return tuple(target.tolist())
    if len(target) == 1 and (outputs or 2) > 1:
        number = int(target[0])
        if number != target[0] or not 0 <= number < (outputs or number + 1):
            raise DataError(problem(where, "its y is no class number", got=target.tolist(), fix=f"0 to {outputs}"))
        return number
    if sorted(target.tolist()) != [0.0] * (len(target) - 1) + [1.0]:
        fix = "give one 1 among zeros, or use activation: sigmoid"
        raise DataError(problem(where, "its y is not one-hot", got=target.tolist(), fix=fix))
    return int(target.argmax())


def renumbered_from_zero(
    rows: list[Row], own: list[str], kind: str, outputs: int | None
) -> tuple[list[Row], list[str]]:
    """Return rows with class numbers from 0, and the class names, if the number of classes is not given.

    Class numbers from 1, or with gaps, are mapped to the sorted numbers that occur in training.

    Args:
        rows: The rows.
        own: The names that a set gives; empty: none.
        kind: What is predicted.
        outputs: The number of classes; None: it is not given.

    Raises:
        DataError: If class numbers do not fit the names, or occur only outside of training.
    """
    learned = sorted({int(row.target) for row in rows if row.part == "train" and isinstance(row.target, int)})
    if kind != "classification" or outputs is not None or not learned or learned == list(range(len(learned))):
        return rows, own
    if own and learned[-1] < len(own):
        return rows, own
    parts = {
        str(part): np.array([row.target for row in rows if row.part == part])
        for part in dict.fromkeys(row.part for row in rows)
    }
    numbering = class_numbers.class_numbering(parts, own or None, "task.train", missing=False)
    return [row._replace(target=numbering.places[int(row.target)]) for row in rows], numbering.names  # type: ignore[arg-type]


def width_of(rows: Sequence[Row], kind: str, outputs: int | None) -> int:
    """Return the number of outputs: as configured, else as in the rows' targets.

    Raises:
        DataError: If targets differ in length.
    """
    if outputs is not None:
        return outputs
    if kind == "classification":
        return max(int(row.target) for row in rows if isinstance(row.target, int)) + 1
    widths = {len(row.target) for row in rows if isinstance(row.target, tuple)}
    if len(widths) != 1:
        raise DataError(
            problem("task.train", f"targets have {listing(sorted(widths))} numbers", fix="let all have one")
        )
    return widths.pop()


def names_of(own: list[str], width: int, outputs: int | None) -> list[str]:
    """Return the names of the outputs: those that a set gives, else their numbers.

    Raises:
        DataError: If a set gives another number of names.
    """
    names = own or [str(number) for number in range(width)]
    if len(names) != width:
        wrong = f"its set names {len(names)} classes, its targets have {width}"
        raise DataError(problem("task.outputs", wrong, got=outputs, fix="let both be the same"))
    return names
