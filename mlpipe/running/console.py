"""The look of a run on the terminal: `sys.console` chooses a class of `conf/console`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

from mlpipe.config import components
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import problem
from mlpipe.running import training_log
from mlpipe.running.training_log import BatchRow, EpochRow, TrainingLog
from mlpipe.runs.journal import Run

GROUP = "console"


class Console(Protocol):
    """The look of the terminal, a class of `conf/console`, made with the configuration of a run.

    Attributes:
        lists_batches: Whether it prints a line for each batch, of one fold, in place of a bar.
    """

    lists_batches: bool

    def around(self) -> AbstractContextManager[None]:
        """The lines before and after those of a whole run."""

    def introduce(self, task: Task, network: Any, counts: Mapping[str, int]) -> None:
        """Print what is about to happen.

        Args:
            task: The task.
            network: The network.
            counts: How many samples are trained on (`train`) and evaluated (`test`).
        """

    def introduce_volume(self, name: str, file: Path, grids: Sequence[Grid], network: Any, origin: Any) -> None:
        """Print what is about to happen to slices of a volume.

        Args:
            name: What its file calls it.
            file: The file.
            grids: The slices of each set.
            network: The network.
            origin: The names of its weights that were loaded, and of those that their file lacks.
        """

    def batch(self, row: BatchRow, tick: Any) -> None:
        """A batch was learned from."""

    def epoch(self, row: EpochRow, epochs: int, batches: int) -> None:
        """An evaluation ended.

        Args:
            row: What it gave.
            epochs: How many epochs there will be.
            batches: How many batches it had.
        """


class Plain:
    """The lines that every run prints, and a bar while a fold is trained.

    Args:
        config: The configuration.
    """

    lists_batches = False

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def around(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def introduce(self, task: Task, network: Any, counts: Mapping[str, int]) -> None:
        """Nothing."""

    def introduce_volume(self, name: str, file: Path, grids: Sequence[Grid], network: Any, origin: Any) -> None:
        """Nothing."""

    def batch(self, row: BatchRow, tick: Any) -> None:
        """Nothing: the bar says it."""

    def epoch(self, row: EpochRow, epochs: int, batches: int) -> None:
        """Nothing."""


def of(config: RunConfig) -> Console:
    """The console that a configuration chooses."""
    return cast(Console, components.of_option(GROUP, config.sys.console).build(config))


def problems(config: RunConfig, folds: int) -> list[str]:
    """A sentence for everything that is in the way of lines and tables of batches.

    Args:
        config: The configuration.
        folds: How many folds are trained.
    """
    problems, outfile = training_log.problems(config.sys.outfile), config.sys.outfile
    if folds != 1 and (outfile is not None or of(config).lists_batches):
        fix = "use split=on_test, split=given or mode.cv=false"
        key = "sys.outfile" if outfile is not None else "sys.console"
        problems.append(problem(key, f"is for one fold, {folds} are trained", fix=fix))
    return problems


class Trace:
    """Prints lines and writes tables while a fold is trained.

    Args:
        config: The configuration.
        console: The console.
        run: The run.
        record_id: The record's name.
        validated: How many samples are validated.
    """

    def __init__(self, config: RunConfig, console: Console, run: Run, record_id: str, validated: int) -> None:
        self._console, self._outfile = console, config.sys.outfile
        self._log = TrainingLog(run.folder / "logs" / record_id / training_log.FILE)
        self._batches = math.ceil(validated / int(config.recipe.sampling.params.get("eval_batch_size", 256)))
        self._epochs = config.recipe.epochs

    def batch(self, tick: Any) -> None:
        """A batch was learned from."""
        self._console.batch(self._log.batch(tick), tick)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """An epoch, counted from 0, ended and was evaluated."""
        row = self._log.epoch(epoch, values)
        if self._batches:
            self._console.epoch(row, self._epochs, self._batches)
        if self._outfile is not None:
            batches, epochs = self._log.rows_until(row.epoch)
            training_log.write(self._outfile, batches, epochs if self._batches else [])


def trace(config: RunConfig, console: Console, run: Run, record_id: str, validated: int) -> Trace | None:
    """The list of a fold's batches; None where neither the terminal nor a table has one."""
    is_wanted = console.lists_batches or config.sys.outfile is not None
    return Trace(config, console, run, record_id, validated) if is_wanted else None
