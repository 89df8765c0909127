"""One of several outputs of rows as a separate task: the same inputs with its targets, kind and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlpipe.data import kind
from mlpipe.data.records.layout import Layout
from mlpipe.data.task import Task
from mlpipe.errors import DataError, did_you_mean, listing, problem

_KEY = "head"


def names(source: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the outputs of a task of rows with several; empty for other tasks, and for a task of one of the outputs.

    Args:
        source: The task's `source`.
    """
    # For arrays, `layout` is a word for the axis order; for rows of named arrays, it describes each array.
    stored = source.get("layout")
    if not isinstance(stored, Mapping) or _KEY in source:
        return ()
    layout = Layout.from_plain(stored)
    return () if layout.is_single else tuple(output.name for output in layout.outputs)


def name_of(source: Mapping[str, Any]) -> str | None:
    """Return the output that a task was made for by `of`; None for other tasks.

    Args:
        source: The task's `source`.
    """
    name: str | None = source.get(_KEY)
    return name


def of(task: Task, name: str) -> Task:
    """Return the task of one output: class numbers, labels or numbers instead of the concatenated numbers of all outputs.

    Args:
        task: A task of rows with several outputs.
        name: The output's name.

    Raises:
        DataError: If the task has no such output.
    """
    known = names(task.source)
    if name not in known:
        near = did_you_mean(name, known, otherwise=f"it has {listing(known)}") if known else "leave the tag out"
        fault = "has no such output" if known else "is no task of records with several outputs"
        raise DataError(problem("task", f"{task.name} {fault}", got=f"+head?{name}", fix=near))
    outputs = Layout.from_plain(task.source["layout"]).outputs
    place = known.index(name)
    start, output = sum(other.width for other in outputs[:place]), outputs[place]
    targets = task.samples.targets[:, start : start + output.width]
    classes = [str(number) for number in range(output.width)]
    is_class_number = kind.of(output.kind).IS_CLASS_NUMBER
    if not is_class_number:
        classes = [name] if output.width == 1 else [f"{name}[{number}]" for number in range(output.width)]
    numbers = targets.argmax(1).astype(np.int64) if is_class_number else targets
    samples = replace(task.samples, targets=numbers)
    return replace(task, kind=output.kind, classes=tuple(classes), source={**task.source, _KEY: name}, samples=samples)
