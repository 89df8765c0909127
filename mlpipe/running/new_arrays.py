"""`mml predict mode.source=FILE` of models that learned from arrays: samples, or slices of volumes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe.data import sources
from mlpipe.data.task import Task
from mlpipe.errors import problem


def are_samples(of: Task) -> bool:
    """Whether a task's samples are arrays in files, one by one."""
    return sources.open(of).has_arrays


def are_slices(of: Task) -> bool:
    """Whether a task's samples are slices of volumes."""
    return bool(sources.open(of).cuts())


def instead(pivot: Task, record: str, source: str) -> str:
    """The sentence that names the command which predicts a volume.

    Args:
        pivot: The task of slices that the model was trained on.
        record: The model, `PROJ#3`.
        source: The volume.
    """
    sets = _text(_source(pivot)["slices"])
    words = [f"mode.record={record}", f"mode.source={source}", f"mode.slices={sets}", "mode.outfile=prediction.h5"]
    command = f"mml evaluate {shlex.join(words)}"
    return problem("mode.source", "a model of slices is applied to a whole volume by another command", fix=command)


def titled(table: Sequence[dict[str, str | float]], new: Task) -> list[dict[str, str | float]]:
    """The table of new samples with their names as a person knows them."""
    if not are_samples(new):
        return list(table)
    source = sources.open(new)
    return [{**row, "image": source.title(str(row["image"]))} for row in table]


def _text(value: Any) -> str:
    """A value as the command line takes it: only texts that need them have quotes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return value if isinstance(value, str) and value.replace("-", "_").isidentifier() else json.dumps(value)


def _source(of: Task) -> Any:
    return (of.bases or (of,))[0].source
