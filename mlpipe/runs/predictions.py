"""A record's logits for every image, as one Parquet file, written and read in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mlpipe import files
from mlpipe.errors import ProjectError, problem

_TARGET = {"classification": pa.int64(), "multilabel": pa.list_(pa.float32()), "regression": pa.list_(pa.float32())}


def schema(kind: str) -> pa.Schema:
    """The columns of a file of predictions: a class number as target, or a list with a number for each output."""
    return pa.schema(
        [
            ("task", pa.string()),
            ("sample_id", pa.string()),
            ("split", pa.string()),
            ("fold", pa.int32()),
            ("target", _TARGET[kind]),
            ("logits", pa.list_(pa.float32())),
            ("calibrated", pa.list_(pa.float32())),
        ]
    )


@dataclass(frozen=True)
class Predictions:
    """Rows of one task and split, in the order of their sample ids.

    Attributes:
        sample_ids: Names, n of them.
        targets: Class numbers of shape (n,), -1 where there is none; of labels and numbers to predict shape (n, outputs),
            NaN where there is none.
        logits: Shape (n, outputs), float32; for regression the predicted numbers.
        calibrated: Log-probabilities of shape (n, classes), None before `post`.
    """

    sample_ids: list[str]
    targets: npt.NDArray[Any]
    logits: npt.NDArray[np.float32]
    calibrated: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)


class PredictionsWriter:
    """Adds batches of rows to a Parquet file; at most `row_group` rows are held in memory."""

    def __init__(self, path: Path, kind: str = "classification", row_group: int = 4096) -> None:
        self._schema = schema(kind)
        self._writer = pq.ParquetWriter(path, self._schema)
        self._held: list[pa.Table] = []
        self._row_group = row_group

    def add(
        self,
        task: str,
        split: str,
        fold: int,
        sample_ids: Sequence[str],
        targets: npt.NDArray[Any],
        logits: npt.NDArray[np.float32],
    ) -> None:
        """Add rows: `targets` as in `Predictions`, and `logits` of shape (n, outputs)."""
        n = len(logits)
        columns = [
            pa.array([task] * n, pa.string()),
            pa.array(list(sample_ids), pa.string()),
            pa.array([split] * n, pa.string()),
            pa.array(np.full(n, fold, np.int32)),
            pa.array(targets, pa.int64(), mask=targets < 0) if targets.ndim == 1 else _lists(targets),
            _lists(logits),
            pa.nulls(n, pa.list_(pa.float32())),
        ]
        self._held.append(pa.Table.from_arrays(columns, schema=self._schema))
        if sum(table.num_rows for table in self._held) >= self._row_group:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held))
            self._held = []

    def close(self) -> None:
        """Write what is held and finish the file."""
        self.flush()
        self._writer.close()

    def copy(self, path: Path, without: Collection[tuple[str, str]]) -> None:
        """Add the rows of another file but those of the given (task, split) pairs."""
        for batch in pq.ParquetFile(path).iter_batches(self._row_group):
            pairs = zip(batch["task"].to_pylist(), batch["split"].to_pylist(), strict=True)
            kept = pa.Table.from_batches([batch]).filter(pa.array([pair not in without for pair in pairs]))
            self._writer.write_table(kept)


@contextmanager
def writer(
    path: Path, replacing: Collection[tuple[str, str]] = (), kind: str = "classification"
) -> Iterator[PredictionsWriter]:
    """A writer whose file appears under its name only when everything was written.

    Args:
        path: The file. Rows that it already has stay.
        replacing: Pairs of (task, split) whose old rows go.
        kind: The kind of the tasks.

    Raises:
        ProjectError: When the file is there and damaged.
    """
    with files.durable(path) as temporary:
        open_writer = PredictionsWriter(temporary, kind)
        try:
            if path.exists():
                _copy(open_writer, path, replacing)
            yield open_writer
        finally:
            open_writer.close()


def _copy(open_writer: PredictionsWriter, path: Path, replacing: Collection[tuple[str, str]]) -> None:
    try:
        open_writer.copy(path, replacing)
    except pa.ArrowException as error:
        fix = "remove it and run mml predict"
        raise ProjectError(problem(str(path), f"cannot be read as predictions ({error})", fix=fix)) from error


def load(path: Path, task: str, split: str) -> Predictions:
    """The rows of one task and split.

    Raises:
        ProjectError: When the file is not there or is damaged.
    """
    try:
        table = _read(path, task, split)
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(
            problem(str(path), f"cannot be read as predictions ({error})", fix="run mml predict")
        ) from error
    table = table.sort_by("sample_id")
    return Predictions(table["sample_id"].to_pylist(), _targets(table), _matrix(table, "logits"), _calibrated(table))


def contents(path: Path) -> dict[tuple[str, str], int]:
    """How many rows each (task, split) of a file has."""
    table = pq.ParquetFile(path).read(["task", "split"])
    counted = table.group_by(["task", "split"]).aggregate([([], "count_all")]).to_pylist()
    return {(row["task"], row["split"]): row["count_all"] for row in counted}


def _read(path: Path, task: str, split: str) -> pa.Table:
    """The rows of one task and split, a row group in memory at a time."""
    kept = []
    with pq.ParquetFile(path) as stored:
        for group in range(stored.num_row_groups):
            table = stored.read_row_group(group)
            pairs = zip(table["task"].to_pylist(), table["split"].to_pylist(), strict=True)
            kept += [table.slice(start, length) for start, length in _runs([pair == (task, split) for pair in pairs])]
        columns = stored.schema_arrow
    return pa.concat_tables(kept) if kept else columns.empty_table()


def _runs(chosen: list[bool]) -> Iterator[tuple[int, int]]:
    """(start, length) of each run of True; slicing needs no pandas, which pyarrow's own filters import."""
    start = 0
    for value, run in itertools.groupby(chosen):
        length = len(list(run))
        if value:
            yield start, length
        start += length


def _matrix(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    values = table[column].combine_chunks()
    if len(values) == 0:
        return np.empty((0, 0), np.float32)
    flat = values.flatten()
    numbers = np.frombuffer(flat.buffers()[1], np.float32, count=len(flat), offset=4 * flat.offset)
    return numbers.reshape(len(values), -1)


def _targets(table: pa.Table) -> npt.NDArray[Any]:
    if pa.types.is_list(table.schema.field("target").type):
        return _matrix(table, "target")
    return np.array([-1 if target is None else target for target in table["target"].to_pylist()], np.int64)


def _lists(values: npt.NDArray[Any]) -> pa.Array:
    """A matrix as a column of lists."""
    n, width = values.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values, np.float32).ravel()))


def _calibrated(table: pa.Table) -> npt.NDArray[np.float32] | None:
    return None if table.num_rows == 0 or table["calibrated"].null_count else _matrix(table, "calibrated")
