"""The appearance of a run on the terminal: `sys.console` chooses a class of `conf/console`."""

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
    """The appearance of the terminal, a class of `conf/console`, built with the configuration of a run.

    Attributes:
        lists_batches: Whether a line is printed for each batch of one fold, instead of a bar.
    """

    lists_batches: bool

    def around(self) -> AbstractContextManager[None]:
        """Print the lines before and after those of a whole run."""

    def introduce(self, task: Task, network: Any, counts: Mapping[str, int]) -> None:
        """Print what is about to happen.

        Args:
            task: The task.
            network: The network.
            counts: The number of samples for training (`train`) and evaluation (`test`).
        """

    def introduce_volume(self, name: str, file: Path, grids: Sequence[Grid], network: Any, origin: Any) -> None:
        """Print what is about to happen to slices of a volume.

        Args:
            name: The name of the volume in its file.
            file: The file.
            grids: The slices of each set.
            network: The network.
            origin: The names of its weights that were loaded, and of those missing from their file.
        """

    def batch(self, row: BatchRow, tick: Any) -> None:
        """Report a training batch."""

    def epoch(self, row: EpochRow, epochs: int, batches: int) -> None:
        """Report an evaluation.

        Args:
            row: Its results.
            epochs: The number of planned epochs.
            batches: The number of batches in the epoch.
        """


class Plain:
    """The lines that every run prints, and a bar while a fold trains.

    Args:
        config: The configuration.
    """

    lists_batches = False

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def around(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def introduce(self, task: Task, network: Any, counts: Mapping[str, int]) -> None:
        """Do nothing."""

    def introduce_volume(self, name: str, file: Path, grids: Sequence[Grid], network: Any, origin: Any) -> None:
        """Do nothing."""

    def batch(self, row: BatchRow, tick: Any) -> None:
        """Do nothing: the bar shows it."""

    def epoch(self, row: EpochRow, epochs: int, batches: int) -> None:
        """Do nothing."""


def of(config: RunConfig) -> Console:
    """Return the console that a configuration chooses."""
    return cast(Console, components.of_option(GROUP, config.sys.console).build(config))


def problems(config: RunConfig, folds: int) -> list[str]:
    """Return a sentence for everything that prevents lines and tables of batches.

    Args:
        config: The configuration.
        folds: The number of folds to train.
    """
    problems, outfile = training_log.problems(config.sys.outfile), config.sys.outfile
    if folds != 1 and (outfile is not None or of(config).lists_batches):
        fix = "use split=on_test, split=given or mode.cv=false"
        key = "sys.outfile" if outfile is not None else "sys.console"
        problems.append(problem(key, f"is for one fold, {folds} are trained", fix=fix))
    return problems


class Trace:
    """Print lines and write tables while a fold trains.

    Args:
        config: The configuration.
        console: The console.
        run: The run.
        record_id: The record's name.
        validated: The number of validation samples.
    """

    def __init__(self, config: RunConfig, console: Console, run: Run, record_id: str, validated: int) -> None:
        self._console, self._outfile = console, config.sys.outfile
        self._log = TrainingLog(run.folder / "logs" / record_id / training_log.FILE)
        self._batches = math.ceil(validated / int(config.recipe.sampling.params.get("eval_batch_size", 256)))
        self._epochs = config.recipe.epochs

    def batch(self, tick: Any) -> None:
        """Record a training batch."""
        self._console.batch(self._log.batch(tick), tick)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record the evaluation after an epoch, counted from 0."""
        row = self._log.epoch(epoch, values)
        if self._batches:
            self._console.epoch(row, self._epochs, self._batches)
        if self._outfile is not None:
            batches, epochs = self._log.rows_until(row.epoch)
            training_log.write(self._outfile, batches, epochs if self._batches else [])


def trace(config: RunConfig, console: Console, run: Run, record_id: str, validated: int) -> Trace | None:
    """Return the trace of a fold's batches; None if neither the terminal nor a table shows them."""
    is_wanted = console.lists_batches or config.sys.outfile is not None
    return Trace(config, console, run, record_id, validated) if is_wanted else None
