"""`mml predict recipe=DIR task.file=FILE`: score rows with a folder of artifacts, into one JSON file."""

from __future__ import annotations

import json
import logging
from typing import Annotated

from mlpipe import current_folder, files
from mlpipe.config.schema import RunConfig
from mlpipe.data.sources.listings import record_files
from mlpipe.dialects.barrage import files as artifact_folder
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class ScoreScheduler(Scheduler):
    """Scores rows; writes only the output file.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        folder: The folder of artifacts.
        file: The rows, .csv or .json.
        output: The file of scores.
        batch_size: Rows per batch.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        folder: str,
        file: str,
        output: str,
        batch_size: Annotated[int, ">= 1"],
    ) -> None:
        super().__init__(run_config, context)
        self._folder, self._file = current_folder.expanded(folder).absolute(), file
        self._output, self._batch_size = current_folder.expanded(output).absolute(), batch_size

    def plan(self) -> list[Step]:
        """Return a single step, after checking that the folder is complete and the rows can be read."""
        if not self._output.parent.is_dir():
            fix = "name a file in a folder that is there"
            raise ConfigError(problem("mode.output", "its folder is not there", got=str(self._output), fix=fix))
        self._artifacts = artifact_folder.load(self._folder)
        self._records = record_files.read_records("task.file", self._file)
        return [Step("score", self._score, in_project=False)]

    def _score(self, run: Run | None) -> None:
        from mlpipe.dialects.barrage import scoring
        from mlpipe.learn.machine.quiet import prepare_torch

        prepare_torch(self.run_config.recipe.threads)
        trust = self.run_config.tree["trust"] or ()
        network = scoring.network(self._artifacts, trust)
        scores = scoring.scores(self._artifacts, network, self._records, trust, self._batch_size)
        plain = [scoring.as_plain(score) for score in scores]
        files.write_text(self._output, json.dumps(plain, indent=2, sort_keys=True) + "\n")
        self.context.facts.update(scores=str(self._output), records=len(plain))
        log.info(f"{counted(len(plain), 'record')} scored: {self._output}")
