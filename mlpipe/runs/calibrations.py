"""What `mml post` learned of a record's probabilities, kept in the project: `calibration_file`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from mlpipe import stored
from mlpipe.runs.project import Project


class Prior(TypedDict):
    """The prevalence that probabilities are meant for; further keys say how it was found."""

    kind: str
    values: list[float]


class Calibration(TypedDict):
    """What the file holds: the calibration, and the same without anything learned where only a prevalence is moved."""

    prior: Prior
    calibration: dict[str, Any]
    identity: NotRequired[dict[str, Any] | None]


def load(project: Project, task: str, record_id: str) -> Calibration | None:
    """What was learned of a record; None where nothing was.

    Args:
        project: The record's.
        task: The record's.
        record_id: Its name.

    Raises:
        ProjectError: When the file is damaged.
    """
    path = project.calibration_file(task, record_id)
    return stored.read(path, Calibration, "delete it, and run mml post") if path.exists() else None
