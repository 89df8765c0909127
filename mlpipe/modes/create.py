"""`mml create`: describe a task ahead of time."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Annotated

from mlpipe.config.schema import RunConfig
from mlpipe.data.splits import checks, variants
from mlpipe.data.splits.methods import TEST, Split
from mlpipe.data.task import Task
from mlpipe.errors import counted
from mlpipe.running import tasks
from mlpipe.running.folds.folds import split_notes
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class CreateScheduler(Scheduler):
    """Find and hash the images, then describe classes and splits in the data folder.

    A split given on the command line becomes the default of later trainings of the task.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: `dataset` and `task`; describing a task needs its images, so `task` does both.
        n_folds: The number of folds.
        ensure_balancing: Spread every class evenly over the folds.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        n_folds: Annotated[int, ">= 2"],
        ensure_balancing: bool,
    ) -> None:
        super().__init__(run_config, context)
        self._subroutines = subroutines

    @cached_property
    def _pivot(self) -> Task:
        """The task; its source is scanned once for all steps."""
        return tasks.pivot(self.run_config)

    def plan(self) -> list[Step]:
        """Plan one step for each subroutine."""
        raise_all(require_writable(self.run_config.data_dir, "data_dir"))
        names = [name for name in ("dataset", "task") if name in self._subroutines]
        calls = {"dataset": self._dataset, "task": self._task}
        return [Step(name, calls[name], in_project=False) for name in names]

    def _dataset(self, run: Run | None) -> None:
        of = self._pivot
        self.context.facts["task"] = of.name
        log.info(f"task {of.name}: {tasks.describe(of)}")
        log.info(f"use it with task={of.name}")

    def _task(self, run: Run | None) -> None:
        of = self._pivot
        split = tasks.split_of(tasks.with_decisions(self.run_config, of), of)
        for sentence in checks.of_repeats(of.kind, of.samples, split, of.classes, nested=False):
            log.warning(sentence)
        views = [variants.plain(of, split, fold) for fold in split.validated]
        for sentence in [*split_notes(of, split), *checks.lacking(of, views)]:
            log.info(f"note on {of.name}: {sentence}")
        sizes, test = (
            [int((split.fold == fold).sum()) for fold in range(split.n_folds)],
            int((split.fold == TEST).sum()),
        )
        self.context.facts.update(task=of.name, folds=sizes, test=test)
        log.info(
            f"folds of {of.name}: {', '.join(map(str, sizes))} images{_validation_note(split)}; "
            f"test part: {counted(test, 'image')}"
        )
        log.info(f"described in {tasks.described_in(self.run_config.data_dir, of)}")


def _validation_note(split: Split) -> str:
    """Say which fold validates, if not every fold does in turn."""
    if split.repeats:
        return f", dealt {1 + len(split.repeats)} times"
    if len(split.validated) == split.n_folds:
        return ""
    return " (fold 0 is only learned from)" if split.can_nest else f" (fold {split.validated[0]} validates)"
