"""Last step of every source: refuse overlaps between parts, and name the task by a hash of all its content."""

from __future__ import annotations

from mlpipe import files
from mlpipe.data.splits import checks
from mlpipe.data.task import Task
from mlpipe.errors import DataError


def finished(task: Task, allow_overlap: bool) -> Task:
    """The task under its final name, which ends in a hash of everything in it.

    Raises:
        DataError: When validation or test images, or groups, are in the training part too, and that is not allowed.
    """
    if not allow_overlap:
        wrong = [checks.overlap_problem(pairs)] if (pairs := checks.overlap(task.samples)) else []
        wrong += checks.group_overlap_problems(task.samples)
        if wrong:
            raise DataError(wrong)
    rules = [rule for place in (task.source, task.source.get("targets", {})) if (rule := place.get("decoding"))]
    digest = files.digest([task.source_hash, task.channels, *rules])[:8]
    name = f"{files.safe_name(task.name)}-{digest}"
    return Task(
        name, task.kind, task.classes, task.channels, task.source, task.samples, dtype=task.dtype, notes=task.notes
    )
