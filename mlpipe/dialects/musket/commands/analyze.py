"""`mml analyze`: compare experiments in one table with their differing settings and their metrics."""

from __future__ import annotations

import logging

from mlpipe import current_folder, files
from mlpipe.config.schema import RunConfig
from mlpipe.dialects.musket import comparison_table
from mlpipe.errors import DataError, problem
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class AnalyzeScheduler(Scheduler):
    """Writes a table of all experiments below a folder.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        inputFolder: The folder to search.
        output: The table's file; None: report.csv in that folder.
        onlyMetric: The only metric to show; empty: all.
        sortBy: The metric that orders the rows, best first.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        inputFolder: str,  # noqa: N803
        output: str | None,
        onlyMetric: str,  # noqa: N803
        sortBy: str,  # noqa: N803
    ) -> None:
        super().__init__(run_config, context)
        self._folder, self._only, self._sort_by = current_folder.expanded(inputFolder), onlyMetric, sortBy
        self._output = current_folder.expanded(output) if output else self._folder / "report.csv"

    def plan(self) -> list[Step]:
        """Return a single step.

        Raises:
            DataError: When the folder does not exist.
        """
        if not self._folder.is_dir():
            raise DataError(
                problem("mode.inputFolder", "there is no such folder", got=str(self._folder), fix="name one")
            )
        return [Step("analyze", self._analyze, in_project=False)]

    def _analyze(self, run: Run | None) -> None:
        experiments = comparison_table.collected_experiments(self._folder)
        text = comparison_table.table(experiments, self._only, self._sort_by)
        self._output.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self._output, text)
        self.context.facts.update(experiments=len(experiments), output=str(self._output))
        log.info(text.rstrip())
        for note in comparison_table.notes(experiments, self._sort_by):
            log.warning(note)
        log.info(f"{len(experiments)} experiments, written to {self._output}")
