"""The lines that rmldnn prints and the two tables that it writes, made from what a training measured."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

DONE = "All done (return value = 0)."


@dataclass(frozen=True)
class BatchRow:
    """A batch that was learned from.

    Attributes:
        epoch: Counted from 1, as is the batch.
        batch: Its number in the epoch.
        seconds: Since the training began.
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
    """An evaluation after an epoch.

    Attributes:
        epoch: Counted from 1.
        seconds: Since the training began.
        loss: The mean loss; None: there are no targets.
        accuracy: The share of right answers; None alike.
    """

    epoch: int
    seconds: float
    loss: float | None
    accuracy: float | None


class Stamped(logging.Formatter):
    """Every line with the time in front of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        time = datetime.fromtimestamp(record.created).strftime("[%Y-%b-%d %H:%M:%S.%f]")
        return "\n".join(f"{time} {line}".rstrip() for line in super().format(record).split("\n"))


def train_line(row: BatchRow, epochs: int, batches: int, waited: float, exchanged: float | None = None) -> str:
    """The line of a batch.

    Args:
        row: The batch.
        epochs: How many epochs there will be.
        batches: How many batches an epoch has.
        waited: The share of the time spent waiting for data.
        exchanged: The share spent waiting for other processes' gradients; None: it was not measured.
    """
    at = f"Train Epoch [{row.epoch:3d}/{epochs:3d}] : Batch [{row.batch:5d}/{batches:5d}]"
    data = round(100 * waited)
    others = min(round(100 * (exchanged or 0)), 100 - data)
    told = "" if exchanged is None else f"; Grad/Comm: {others}%"
    shares = f"Data: {data}%; Compute: {100 - data - others}%{told}"
    return f"{at} (Loss = {row.loss:.4f}; |g| = {row.norm:.4f}) [{shares}]"


def eval_line(row: EpochRow, epochs: int, batches: int) -> str:
    """The line of an evaluation, which shows its last batch.

    Args:
        row: The evaluation.
        epochs: How many epochs there will be.
        batches: How many batches it has.
    """
    at = f"Eval  Epoch [{row.epoch:3d}/{epochs:3d}] : Batch [{batches:5d}/{batches:5d}]"
    if row.loss is None:
        return at
    accuracy = "" if row.accuracy is None else f" | Accuracy: {row.accuracy:.3f}"
    return f"{at} (Loss: {row.loss:.4f}){accuracy}"


def block(title: str, facts: Mapping[str, Any]) -> list[str]:
    """A heading, and facts below it with their names aligned."""
    width = max(map(len, facts), default=0)
    return [title, *(f"  {name:<{width}} : {value}" for name, value in facts.items())]


def loading_lines(file: str, loaded: Sequence[str], left: Sequence[str]) -> list[str]:
    """What is said of weights that are loaded.

    Args:
        file: Their file.
        loaded: Names (`layer/weight`) of those that were loaded.
        left: Names of those that the file lacks.
    """
    kind = "HDF5 file" if Path(file).suffix in (".h5", ".hdf5") else "file"
    there = {name.partition("/")[0] for name in loaded}
    whole = dict.fromkeys(layer for name in left if (layer := name.partition("/")[0]) not in there)
    parts = [name.replace("/", ".") for name in left if name.partition("/")[0] in there]
    return [
        f"Loading model checkpoint from {kind}: {file}",
        *(f"   Skipping layer {layer}: not found in model" for layer in whole),
        *(f"   Skipping parameter {name}: not found in model" for name in parts),
    ]


def paths(outfile: str) -> tuple[Path, Path]:
    """The table of batches and that of evaluations: the part goes before the ending."""
    path = Path(outfile).expanduser()
    return path.with_name(f"{path.stem}_train{path.suffix}"), path.with_name(f"{path.stem}_test{path.suffix}")


def train_table(rows: Iterable[BatchRow]) -> str:
    """A line for each batch: epoch, batch, seconds, loss, norm of the gradient."""
    return "".join(f"{row.epoch} {row.batch} {row.seconds:.3f} {row.loss:.6g} {row.norm:.6g}\n" for row in rows)


def test_table(rows: Iterable[EpochRow]) -> str:
    """A line for each evaluation: epoch, seconds, loss, accuracy; without targets the first two."""
    return "".join(
        " ".join(
            [
                f"{row.epoch} {row.seconds:.3f}",
                *(f"{value:.6g}" for value in (row.loss, row.accuracy) if value is not None),
            ]
        )
        + "\n"
        for row in rows
    )
