"""`mml pp`: decode and resize every image once."""

from __future__ import annotations

import logging

from mlpipe.config.schema import RunConfig
from mlpipe.running import tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class PreprocessScheduler(Scheduler):
    """Fill the cache that all folds and runs share.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: `preprocess` is the only one.
    """

    def __init__(self, run_config: RunConfig, context: RunContext, *, subroutines: list[str]) -> None:
        super().__init__(run_config, context)

    def plan(self) -> list[Step]:
        """Plan the only step."""
        raise_all(require_writable(self.run_config.data_dir, "data_dir"))
        return [Step("preprocess", self._preprocess, in_project=False)]

    def _preprocess(self, run: Run | None) -> None:
        of = tasks.pivot(self.run_config)
        pack = tasks.pack_of(self.run_config, of, self.context)
        facts = {"task": of.name, "cache": str(pack.folder), "images": len(of.samples), "unreadable": pack.unreadable}
        self.context.facts.update(facts)
        log.info(f"the cache of {of.name} is in {pack.folder}")
