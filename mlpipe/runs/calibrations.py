"""Calibrations that `mml post` learned from records, stored in the project: `calibration_file`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from mlpipe import stored
from mlpipe.runs.project import Project


class Prior(TypedDict):
    """The prevalence for which probabilities are meant; further keys say how it was found."""

    kind: str
    values: list[float]


class Calibration(TypedDict):
    """The contents of the file: the calibration, and an unlearned version that only shifts a prevalence."""

    prior: Prior
    calibration: dict[str, Any]
    identity: NotRequired[dict[str, Any] | None]


def load(project: Project, task: str, record_id: str) -> Calibration | None:
    """Return the calibration of a record; None if there is none.

    Args:
        project: The record's project.
        task: The record's task.
        record_id: The record's name.

    Raises:
        ProjectError: When the file is damaged.
    """
    path = project.calibration_file(task, record_id)
    return stored.read(path, Calibration, "delete it, and run mml post") if path.exists() else None
