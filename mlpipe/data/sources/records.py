"""Rows of tables or JSON files that the user's own loader turns into named arrays: mml train task=records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import files
from mlpipe.data import kind as kind_data
from mlpipe.data import records, task
from mlpipe.data.records import (
    RecordSet,
)
from mlpipe.data.records import layout as record_layout
from mlpipe.data.records.layout import Layout
from mlpipe.data.sources.listings.record_files import IDENTITY, PARTS, called, is_held, place, require_allowed, sets_of
from mlpipe.data.sources.source import finished
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, listing, problem


def records_of(
    *,
    kind: Literal["classification", "multilabel", "regression"],
    train: str,
    validation: str,
    loader: dict[str, Any],
    output: str | list[str],
    kinds: list[str] | None = None,
    transformer: dict[str, Any] | None = None,
    augmentor: list[dict[str, Any]] | None = None,
    sample_count: str | None = None,
    seed: Annotated[int, ">= 0"] | None = None,
    outputs: Annotated[int, ">= 1"] | None = None,
    name: str | None = None,
    trust: list[str] | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Rows (`mlpipe.data.records`) after the loader and transformer; the arrays of each row become one long vector.

    Every row is read once to describe the task, and once more to fill the cache. A module in front of the network splits
    the vector again (`arch=records`).

    Args:
        kind: What is predicted; for classes y is one-hot or a class number.
        train: A table (.csv) or a list (.json) of training rows.
        validation: The validation rows.
        loader: The import that turns a row into arrays: `{import: NAME, params: {...}}`.
        output: The name of the output that is learned, or the names of several outputs, which are concatenated.
        kinds: With several outputs, the kind of each; `kind` is then regression.
        transformer: The import that is fitted to the training rows and changes arrays; None: no change.
        augmentor: Functions that vary the arrays of training rows anew in every epoch, in their order.
        sample_count: The key of the number of times that a training row is used per epoch.
        seed: The global random seed while the transformer is fitted; None: 0.
        outputs: The number of outputs or classes; None: as many as the targets have.
        name: The task's name before the hash; None: the name of the training file.
        trust: Modules outside the current folder whose code may run; always those of the root's `trust`.
        max_unreadable: As for `folder`; a row that cannot be read is always an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: If an import is not allowed or missing, the user's code fails, or rows do not fit.
    """
    heads = _heads(output, kind, kinds)
    source = {
        "type": "records",
        "parts": {"train": place(train), "validation": place(validation)},
        "loader": loader,
        "transformer": transformer or IDENTITY,
        "augmentor": list(augmentor or []),
        "sample_count": sample_count,
        "seed": seed or 0,
        "output": output,
    }
    require_allowed(source, trust or [])
    sets = sets_of(source)
    layout: Layout | None = None
    rows: list[Row] = []
    for part, record_set in zip(PARTS, sets, strict=True):
        for index in range(len(record_set)):
            where = f"record {index} of task.{part[0]}"
            data_record = called(where, record_set.plain, index)
            if layout is None:
                layout = _with_classes(record_layout.of(data_record, heads, where), sets, outputs)
            rows += _rows(
                part[1], index, data_record, layout, where, record_set, sample_count if part[0] == "train" else None
            )
    if layout is None:
        raise DataError(problem("task.train", "has no records", got=train, fix="give a file with records"))
    numbers = sorted({int(row.target) for row in rows if row.part == "train" and isinstance(row.target, int)})
    is_counted = outputs is None or (len(numbers) == outputs <= max(numbers, default=0))
    if is_counted and layout.width is None and numbers != list(range(len(numbers))):
        # Class numbers from 1, or with gaps: the classes are those that occur in training, unless `outputs` asks for more.
        layout = layout.counted(numbers)
        rows = [row._replace(target=layout.outputs[0].place(int(row.target), row.id)) for row in rows]  # type: ignore[arg-type]
    width = outputs or layout.width or max(int(row.target) for row in rows if isinstance(row.target, int)) + 1
    highest = max((int(row.target) for row in rows if isinstance(row.target, int)), default=0)
    if (layout.width or width) != width or highest >= width:
        wrong = f"the targets need {max(layout.width or 0, highest + 1)}"
        raise DataError(problem("task.outputs", wrong, got=outputs, fix="leave it out, or give the right number"))
    source |= {"layout": layout.as_plain(), "network_params": _network_params(sets[0])}
    title = name or ("records" if is_held(train) else Path(train).stem)
    labels = _labels(layout, width) if not layout.outputs[0].numbers else [str(number) for number in numbers]
    new_task = task.make(title, labels, rows, kind=kind, channels=1, dtype="float32", source=source)
    return finished(new_task, allow_overlap)


def _with_classes(layout: Layout, sets: Sequence[RecordSet], outputs: int | None) -> Layout:
    """Return the layout with its numbers of classes: the highest class number plus one, or `task.outputs` for one output."""
    names = layout.of_class_numbers
    highest = dict.fromkeys(names, 0)
    for part, record_set in zip(PARTS, sets, strict=True) if names else ():
        for index in range(len(record_set)):
            where = f"record {index} of task.{part[0]}"
            y = layout.y(called(where, record_set.plain, index), where)
            for output in layout.outputs:
                if output.name in names:
                    highest[output.name] = max(highest[output.name], int(output.values(y, where)[0]))
    classes = {name: number + 1 for name, number in highest.items()}
    if outputs is not None and len(names) == 1:
        others = sum(other.width for other in layout.outputs if other.name not in names)
        classes[names[0]] = max(classes[names[0]], outputs - others)
    return layout.with_classes(classes) if names else layout


def _rows(
    part: Part,
    index: int,
    data_record: records.DataRecord,
    layout: Layout,
    where: str,
    row_set: RecordSet,
    sample_count: str | None,
) -> list[Row]:
    """Return the task's row for a row of data, with a copy for each further time that it is used per epoch."""
    vector = layout.vector(data_record, where)
    target, weight = layout.target(data_record, where), layout.weight(data_record, where)
    digest = files.digest_bytes(vector.tobytes())
    times = called(where, records.repeats, row_set.records[index], sample_count)
    names = [f"{part}:{index:07d}" + (f"#{number}" if number else "") for number in range(times)]
    return [Row(name, part, target, digest, weight=weight) for name in names]


def _heads(output: str | list[str], kind: str, kinds: list[str] | None) -> list[tuple[str, str]]:
    """Return the name and kind of each output."""
    names = [output] if isinstance(output, str) else output
    own_kinds = [kind] if len(names) == 1 else list(kinds or [])
    if len(own_kinds) != len(names) or len(set(names)) != len(names) or not set(own_kinds) <= set(kind_data.names()):
        fix = f"give one of {listing(kind_data.names())} for each output"
        raise DataError(problem("task.kinds", "do not fit the outputs", got=kinds, fix=fix))
    if len(names) > 1 and kind != "regression":
        raise DataError(problem("task.kind", "must be regression for several outputs", got=kind, fix="set it"))
    return list(zip(names, own_kinds, strict=True))


def _labels(layout: Layout, width: int) -> list[str]:
    """Return a name for each number of a target."""
    if layout.is_single:
        return [str(number) for number in range(width)]
    return [
        output.name if output.width == 1 else f"{output.name}[{number}]"
        for output in layout.outputs
        for number in range(output.width)
    ]


def _network_params(row_set: RecordSet) -> dict[str, Any]:
    params = row_set.transformer.network_params
    try:
        plain: dict[str, Any] = json.loads(json.dumps(params, default=_as_plain))
    except TypeError as error:
        fix = "let them be numbers, texts, lists and dictionaries"
        raise DataError(
            problem("task.transformer", f"its network_params are no plain data ({error})", fix=fix)
        ) from error
    return plain


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none")
