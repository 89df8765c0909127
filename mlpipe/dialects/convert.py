"""`mml convert`: print a recipe file of another program as native YAML, with a report of where each key went."""

from __future__ import annotations

import logging
from pathlib import Path

from mlpipe.config.schema import RunConfig
from mlpipe.dialects import detect
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class ConvertScheduler(Scheduler):
    """Prints the translation of a recipe file; writes nothing.

    Args:
        run_config: The checked native configuration of the file.
        context: The project, the display and the request to stop.
        recipe: The file.
        lenient: Allow unknown keys, and monitors that nothing computes.
    """

    def __init__(self, run_config: RunConfig, context: RunContext, *, recipe: str, lenient: bool) -> None:
        super().__init__(run_config, context)
        self._recipe, self._lenient = recipe, lenient

    def plan(self) -> list[Step]:
        """Return a single step."""
        return [Step("convert", self._convert, in_project=False)]

    def _convert(self, run: Run | None) -> None:
        translation = detect.translated(Path(self._recipe), lenient=self._lenient).of_one_training()
        self.context.facts.update(
            dialect=translation.dialect,
            native=translation.native,
            report=[
                {"key": line.key, "fate": line.fate, "place": line.place, "note": line.note}
                for line in translation.report
            ],
        )
        log.info(translation.text().rstrip())
