"""Tasks that were created earlier, by their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from mlpipe.data.decoding.value_rules import PLAIN
from mlpipe.data.sources import opening
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.task import Task
from mlpipe.errors import DataError, did_you_mean, listing, problem


def created(*, name: str, data_dir: str, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """A task created earlier, by its name.

    Args:
        name: The task's name.
        data_dir: The folder of all tasks.
        max_unreadable: As for `folder`.

    Raises:
        DataError: When there is no such task.
    """
    path = Path(data_dir) / name / "task.json"
    if not path.is_file():
        known = sorted(file.parent.name for file in Path(data_dir).glob("*/task.json"))
        fix = did_you_mean(name, known, otherwise=f"known tasks: {listing(known) or 'none'}")
        raise DataError(problem("task", "there is no such task", got=name, fix=fix))
    return _with_rule(opening.load(path), data_dir)


def _with_rule(stored: Task, data_dir: str) -> Task:
    """The task with the rule for its pixels where it is of a time before the rule, and has an image that depends on it.

    Its images are decoded by the rule now, and must not be taken from a cache of that time.
    """
    paths = opening.open(stored).files()
    if paths is None or "decoding" in stored.source or stored.channels == 4:
        return stored
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, Path(stored.name), "created"))
    if not any(look.is_transparent or look.is_respread for look in looks):
        return stored
    return replace(stored, source={**stored.source, **replace(PLAIN, is_needed=True).as_plain()})
