"""Measurements of a training batch by batch, stored with the run's log, and the two tables of `sys.outfile`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from mlpipe import current_folder, files, limits, stored
from mlpipe.errors import ProjectError, first_line, problem

FILE = "batches.jsonl"


@dataclass(frozen=True)
class BatchRow:
    """One training batch.

    Attributes:
        epoch: The epoch; counted from 1, like the batch.
        batch: The number of the batch in the epoch.
        seconds: Seconds since the start of the training.
        loss: Its loss.
        norm: The norm of all gradients together.
    """

    epoch: int
    batch: int
    seconds: float
    loss: float
    norm: float


@dataclass(frozen=True)
class EpochRow:
    """One evaluation after an epoch.

    Attributes:
        epoch: Counted from 1.
        seconds: Seconds since the start of the training.
        loss: The mean loss; None: there are no targets.
        accuracy: The share of correct predictions; None: there are no targets.
    """

    epoch: int
    seconds: float
    loss: float | None
    accuracy: float | None


def evaluation_row(values: Mapping[str, float], epoch: int = 1, seconds: float = 0.0) -> EpochRow:
    """Return the row of an evaluation.

    The column of accuracies holds the share of correct predictions; for masks Dice, for images PSNR, for boxes the mean
    average precision at an IoU of 0.5, for numbers the coefficient of determination; None if there is no such metric.

    Args:
        values: Metrics by name.
        epoch: Counted from 1.
        seconds: Seconds since the start of the training.
    """
    names = ("accuracy", "foreground_dice", "dice", "psnr", "map50", "r2")
    accuracy = next((values[name] for name in names if name in values), None)
    return EpochRow(epoch, seconds, values.get("loss"), accuracy)


class _Line(TypedDict):
    """A line of the file."""

    epoch: dict[str, Any]
    batches: list[dict[str, Any]]


class TrainingLog:
    """The rows of one fold; a continued run keeps the earlier ones.

    Args:
        file: The file, with a line for each epoch.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._batches = file, list[BatchRow]()
        self._epoch_rows: dict[int, tuple[list[BatchRow], EpochRow]] = _read(file)
        spent = max((row.seconds for _, row in self._epoch_rows.values()), default=0.0)
        self._started = time.monotonic() - spent

    def batch(self, tick: Any) -> BatchRow:
        """Add a training batch."""
        if tick.batch == 1:
            # Batches of an attempt that ended within its epoch, by a NaN loss or out of memory, are repeated.
            self._batches = []
        norm = math.nan if tick.norm is None else float(tick.norm)
        row = BatchRow(tick.epoch + 1, tick.batch, self._seconds(), float(tick.batch_loss), norm)
        self._batches.append(row)
        return row

    def epoch(self, epoch: int, values: Mapping[str, float]) -> EpochRow:
        """Add the evaluation after an epoch, counted from 0."""
        row = evaluation_row(values, epoch + 1, self._seconds())
        self._epoch_rows[row.epoch] = (self._batches, row)
        plain = {"epoch": vars(row), "batches": [vars(batch) for batch in self._batches]}
        self._batches = []
        self._file.parent.mkdir(parents=True, exist_ok=True)
        files.append_line(self._file, json.dumps(plain))
        return row

    def rows_until(self, epoch: int) -> tuple[list[BatchRow], list[EpochRow]]:
        """Return all rows up to an epoch, counted from 1."""
        epochs = [self._epoch_rows[number] for number in sorted(self._epoch_rows) if number <= epoch]
        return [batch for batches, _ in epochs for batch in batches], [row for _, row in epochs]

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def problems(outfile: str | None) -> list[str]:
    """Return a sentence if the tables cannot be written."""
    if outfile is not None and Path(outfile).name in ("", ".."):
        return [problem("sys.outfile", "is no name of a file", got=outfile, fix="for example log.txt")]
    if outfile is None or table_paths(outfile)[0].absolute().parent.is_dir():
        return []
    fix = "make the folder first, or name a file in one that is there"
    return [problem("sys.outfile", "its folder is not there", got=outfile, fix=fix)]


def write(outfile: str, batches: Iterable[BatchRow], epochs: Iterable[EpochRow]) -> None:
    """Write the tables; an empty table is omitted."""
    train, test = table_paths(outfile)
    for path, text in ((train, batch_table(batches)), (test, epoch_table(epochs))):
        if text:
            files.write_text(path, text)


def table_paths(outfile: str) -> tuple[Path, Path]:
    """Return the paths of the tables of batches and evaluations: the part goes before the suffix."""
    path = current_folder.expanded(outfile)
    return path.with_name(f"{path.stem}_train{path.suffix}"), path.with_name(f"{path.stem}_test{path.suffix}")


def batch_table(rows: Iterable[BatchRow]) -> str:
    """Format a line for each batch: epoch, batch, seconds, loss, gradient norm, in fixed notation."""
    return "".join(f"{row.epoch} {row.batch} {row.seconds:.3f} {row.loss:.6f} {row.norm:.6f}\n" for row in rows)


def epoch_table(rows: Iterable[EpochRow]) -> str:
    """Format a line for each evaluation: epoch, seconds, loss, accuracy; without targets, the first two."""
    return "".join(
        " ".join(
            [
                f"{row.epoch} {row.seconds:.3f}",
                *(f"{value:.6f}" for value in (row.loss, row.accuracy) if value is not None),
            ]
        )
        + "\n"
        for row in rows
    )


def _read(path: Path) -> dict[int, tuple[list[BatchRow], EpochRow]]:
    """Read the rows of an earlier part of the run; repeated epochs replace earlier ones."""
    if not path.is_file():
        return {}
    try:
        text = limits.text(path, limits.STORED)
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            # The last line was cut off by a crash: its epoch is repeated.
            files.write_text(path, whole)
        epochs = {}
        for line in whole.splitlines():
            plain = stored.checked(_Line, files.plain_json(line))
            row = stored.made(EpochRow, plain["epoch"])
            epochs[row.epoch] = [stored.made(BatchRow, batch) for batch in plain["batches"]], row
        return epochs
    except (OSError, ValueError, TypeError) as error:
        fix = "start the training anew; without sys.outfile it goes on without these tables"
        raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix=fix)) from error
