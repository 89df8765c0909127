"""Last step of every source: refuse overlaps between parts, and name the task by a hash of all its content."""

from __future__ import annotations

from mlpipe import files
from mlpipe.data.splits import checks
from mlpipe.data.task import Task
from mlpipe.errors import DataError


def finished(made: Task, allow_overlap: bool) -> Task:
    """The task under its final name, which ends in a hash of everything in it.

    Raises:
        DataError: When validation or test images, or groups, are in the training part too, and that is not allowed.
    """
    if not allow_overlap:
        wrong = [checks.overlap_problem(pairs)] if (pairs := checks.overlap(made.samples)) else []
        wrong += checks.group_overlap_problems(made.samples)
        if wrong:
            raise DataError(wrong)
    rules = [rule for place in (made.source, made.source.get("targets", {})) if (rule := place.get("decoding"))]
    digest = files.digest([made.source_hash, made.channels, *rules])[:8]
    name = f"{files.safe_name(made.name)}-{digest}"
    return Task(
        name, made.kind, made.classes, made.channels, made.source, made.samples, dtype=made.dtype, notes=made.notes
    )
