"""Tasks that were created earlier, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlpipe.data import task
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
    return task.load(path)
