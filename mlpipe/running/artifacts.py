"""Extra files of a fold, written after its record; each key of `sys` with a file in `conf/artifacts` requests one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from mlpipe.config import catalog, components
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.running.steps import RunContext
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

GROUP = "artifacts"


class Artifact(Protocol):
    """An extra file of a fold, a class of `conf/artifacts`, built with the configuration of a run.

    Attributes:
        step: The name of its step in the plan.
    """

    step: str

    def problems(self, task: Task, folds: Sequence[int], *, stored: bool) -> list[str]:
        """Return a sentence for everything that prevents it.

        Args:
            task: The task.
            folds: The folds to train.
            stored: Whether weights are stored.
        """

    def write(self, context: RunContext, task: Task, record: ModelRecord, run: Run) -> None:
        """Write the file.

        Args:
            context: The project.
            task: The task.
            record: The first fold's record.
            run: The run that trained it.
        """


def of(config: RunConfig) -> list[Artifact]:
    """Return the extra files that a configuration requests."""
    keys = [key for key in catalog.options(GROUP) if getattr(config.sys, key)]
    return [cast(Artifact, components.of_option(GROUP, key).build(config)) for key in keys]
