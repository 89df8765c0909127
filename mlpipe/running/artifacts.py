"""Extra files of a fold, written once its record is: each key of `sys` with a file in `conf/artifacts` asks for one."""

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
    """An extra file of a fold, a class of `conf/artifacts`, made with the configuration of a run.

    Attributes:
        step: What its step of the plan is called.
    """

    step: str

    def problems(self, task: Task, folds: Sequence[int], *, stored: bool) -> list[str]:
        """A sentence for everything that is in the way of it.

        Args:
            task: The task.
            folds: The folds that are trained.
            stored: Whether weights are stored.
        """

    def write(self, context: RunContext, task: Task, record: ModelRecord, run: Run) -> None:
        """Write it.

        Args:
            context: The project.
            task: The task.
            record: The first fold's.
            run: The run that trained it.
        """


def of(config: RunConfig) -> list[Artifact]:
    """The extra files that a configuration asks for."""
    keys = [key for key in catalog.options(GROUP) if getattr(config.sys, key)]
    return [cast(Artifact, components.of_option(GROUP, key).build(config)) for key in keys]
