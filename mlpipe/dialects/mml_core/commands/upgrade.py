"""`mml upgrade mode.source=DIR`: import an mml-core project; without `mode.source`, upgrade and downgrade as usual."""

from __future__ import annotations

from pathlib import Path

from mlpipe import current_folder
from mlpipe.config.schema import RunConfig
from mlpipe.dialects.mml_core.importing import Import
from mlpipe.errors import ConfigError, problem
from mlpipe.modes import upgrade
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable


class UpgradeScheduler(upgrade.UpgradeScheduler):
    """Imports a project of mml-core if one is named; otherwise converts formats.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: `upgrade` or `downgrade`.
        version: The version to convert files from (upgrade) or to (downgrade); not needed with `source`.
        source: A project folder of mml-core whose records are imported.
        source_data: The folder of its tasks (its MML_DATA_PATH).
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        version: str | float | None,
        source: str | None = None,
        source_data: str | None = None,
    ) -> None:
        super().__init__(run_config, context, subroutines=subroutines, version=version)
        self._source, self._source_data = source, source_data

    def plan(self) -> list[Step]:
        """Return a step for each task, each model and the blueprints, or for each file to convert.

        Raises:
            ConfigError: When the settings contradict each other.
            ProjectError: When a folder is not of mml-core, or a file cannot be converted.
        """
        if self._source is not None:
            return self._imported(Path(self._source))
        if self._source_data is not None:
            fix = "name the project folder by mode.source=DIR"
            raise ConfigError(problem("mode.source_data", "goes with mode.source", got=self._source_data, fix=fix))
        return super().plan()

    def _imported(self, source: Path) -> list[Step]:
        """Return the steps that import a project of mml-core."""
        if self._subroutines != ["upgrade"]:
            raise ConfigError(problem("mode.source", "only mml upgrade takes projects over", fix="use mml upgrade"))
        config = self.run_config
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        data = None if self._source_data is None else current_folder.expanded(self._source_data)
        return Import(config, self.context, current_folder.expanded(source), data).steps()
