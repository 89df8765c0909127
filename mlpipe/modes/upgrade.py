"""`mml upgrade`, `mml downgrade`: convert a project and its tasks between the formats of versions, with a backup."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from pathlib import Path

from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, counted, listing, problem
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs import formats, journal
from mlpipe.runs.formats import Conversion
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class UpgradeScheduler(Scheduler):
    """Convert files one by one, each atomically after a backup; files already converted are skipped.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: `upgrade` or `downgrade`.
        version: The version that files come from (upgrade) or are converted to (downgrade).
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        version: str | float | None,
    ) -> None:
        super().__init__(run_config, context)
        self._subroutines, self._version = subroutines, None if version is None else str(version)
        self._backup = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"

    def plan(self) -> list[Step]:
        """Plan one step for each file; everything is converted in memory before anything is written.

        Raises:
            ConfigError: When the version is unknown, or both directions are requested.
            ProjectError: When a file cannot be converted, or a run of the project is in progress.
        """
        config = self.run_config
        target = self._target()
        conversions = formats.planned(config.project_dir, config.data_dir, target)
        self.context.facts.update(converted=[], backup=None)
        if not conversions:
            log.info(f"nothing to do: project {config.proj} and the tasks have the formats of version {target}")
            return []
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        for run in journal.all_run_folders(self.context.project):
            run.refuse_if_running()
        kinds = listing(sorted({conversion.kind for conversion in conversions}))
        log.info(
            f"{counted(len(conversions), 'file')} ({kinds}) to convert; the old ones are kept in {formats.BACKUPS}/{self._backup}"
        )
        return [
            Step(self._conversion_text(conversion), partial(self._convert, conversion), in_project=False)
            for conversion in conversions
        ]

    def _target(self) -> str:
        known = list(formats.VERSIONS)
        if self._version is None:
            fix = f"versions: {listing(known)}; or take a project of mml-core over by mode.source=DIR"
            raise ConfigError(problem("mode.version", "is missing", fix=fix))
        if len(self._subroutines) != 1:
            fix = "use mml upgrade or mml downgrade"
            raise ConfigError(
                problem("mode.subroutines", "only one direction at a time", got=self._subroutines, fix=fix)
            )
        if self._version not in known:
            wrong = "is no version of mlpipe whose formats are known"
            raise ConfigError(problem("mode.version", wrong, got=self._version, fix=f"versions: {listing(known)}"))
        if self._subroutines == ["downgrade"]:
            return self._version
        return known[-1]

    def _root(self, conversion: Conversion) -> Path:
        return self.run_config.data_dir if conversion.kind == "task" else self.run_config.project_dir

    def _conversion_text(self, conversion: Conversion) -> str:
        path = conversion.path.relative_to(self._root(conversion))
        return f"{path}: {conversion.kind} format {conversion.old} -> {conversion.new}"

    def _convert(self, conversion: Conversion, run: Run | None) -> None:
        backup = formats.convert(conversion, self._root(conversion), self._backup)
        self.context.facts["converted"].append(str(conversion.path))
        self.context.facts["backup"] = str(backup)
        log.info(self._conversion_text(conversion))
        log.debug(f"the old one: {backup}")
