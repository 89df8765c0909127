"""A record's logits for every image, as one Parquet file, written and read in bounded memory."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe import files, kinds, parquet
from mlpipe.errors import ProjectError, counted, is_out_of_memory, problem
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = LazyModule("pyarrow"), LazyModule("pyarrow.parquet")

# The number of rows written together.
_ROW_GROUP = 4096


def schema(kind: str) -> pa.Schema:
    """Return the columns of a file of predictions: the target is a class number, or a list with one per output."""
    of = kinds.of(kind)
    # A dense task has a sum for each class here; the class of each pixel is in its maps.
    is_class_number = of.has_classes and not of.is_dense
    return pa.schema(
        [
            ("task", pa.string()),
            ("sample_id", pa.string()),
            ("split", pa.string()),
            ("fold", pa.int32()),
            ("target", pa.int64() if is_class_number else pa.list_(pa.float32())),
            ("logits", pa.list_(pa.float32())),
            ("calibrated", pa.list_(pa.float32())),
        ]
    )


@dataclass(frozen=True)
class Predictions:
    """Rows of one task and split, ordered by sample id.

    Attributes:
        sample_ids: Names of the n samples.
        targets: Class numbers of shape (n,), -1 if missing; for labels and numbers, shape (n, outputs), NaN if missing.
        logits: Shape (n, outputs), float32; for regression, the predicted numbers. For segmentation, logits and targets
            are counts of pixels, see `mlpipe.post.measures.mask_metrics`, for images sums of errors, see
            `image_metrics`; for solutions the loss of each; predictions for every pixel are in `mlpipe.runs.maps`.
        calibrated: Log-probabilities of shape (n, classes), None before `post`.
    """

    sample_ids: list[str]
    targets: npt.NDArray[Any]
    logits: npt.NDArray[np.float32]
    calibrated: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)


class PredictionsWriter:
    """Add batches of rows to a Parquet file; at most `row_group` rows are held in memory."""

    def __init__(self, path: Path, kind: str, row_group: int = _ROW_GROUP) -> None:
        self._schema = schema(kind)
        self._writer = pq.ParquetWriter(path, self._schema, write_page_checksum=True)
        self._pending_tables: list[pa.Table] = []
        self._row_group = row_group

    def add(
        self,
        task: str,
        split: str,
        fold: int,
        sample_ids: Sequence[str],
        targets: npt.NDArray[Any],
        logits: npt.NDArray[np.float32],
        calibrated: npt.NDArray[Any] | None = None,
    ) -> None:
        """Add rows: `targets` as in `Predictions`, `logits` and, if available, `calibrated` of shape (n, outputs)."""
        # A limited number of rows at a time: offsets of lists have 32 bits, and readers hold a row group in memory.
        for start in range(0, len(logits), self._row_group):
            own = slice(start, start + self._row_group)
            n, values = len(logits[own]), None if calibrated is None else calibrated[own]
            columns = [
                pa.array([task] * n, pa.string()),
                pa.array(list(sample_ids[own]), pa.string()),
                pa.array([split] * n, pa.string()),
                _arrow_array(np.full(n, fold, np.int32), pa.int32()),
                _numbers_or_null(targets[own]) if targets.ndim == 1 else _lists(targets[own]),
                _lists(logits[own]),
                pa.nulls(n, pa.list_(pa.float32())) if values is None else _lists(values),
            ]
            self._pending_tables.append(pa.Table.from_arrays(columns, schema=self._schema))
            if sum(table.num_rows for table in self._pending_tables) >= self._row_group:
                self.flush()

    def flush(self) -> None:
        """Write the rows held in memory."""
        if self._pending_tables:
            self._writer.write_table(pa.concat_tables(self._pending_tables))
            self._pending_tables = []

    def close(self) -> None:
        """Write the rows held in memory and finish the file."""
        self.flush()
        self._writer.close()

    def copy(self, path: Path, without: Collection[tuple[str, str]]) -> None:
        """Add the rows of another file, except those of the given (task, split) pairs.

        Raises:
            ProjectError: When it is damaged, or its rows have another kind.
        """
        for batch in _batches(path, self._row_group, self._schema):
            pairs = zip(batch["task"].to_pylist(), batch["split"].to_pylist(), strict=True)
            table = pa.Table.from_batches([batch]).filter(pa.array([pair not in without for pair in pairs]))
            self._writer.write_table(table)


@contextmanager
def writer(path: Path, replacing: Collection[tuple[str, str]], kind: str) -> Iterator[PredictionsWriter]:
    """Open a writer whose file appears under its name only once everything is written.

    Args:
        path: The file. Rows already in it are kept.
        replacing: Pairs of (task, split) whose old rows are dropped.
        kind: The kind of the tasks.

    Raises:
        ProjectError: When the file exists and is damaged.
    """
    with files.durable(path) as temporary:
        open_writer = PredictionsWriter(temporary, kind)
        try:
            if path.exists():
                open_writer.copy(path, replacing)
            yield open_writer
        finally:
            open_writer.close()


def _batches(path: Path, size: int, target_schema: pa.Schema | None = None) -> Iterator[pa.RecordBatch]:
    """Yield batches of rows of a file; errors of the code that writes them are not reported as the file's."""
    with _reading(path), parquet.opened(path) as file:
        for batch in file.iter_batches(size):
            if target_schema is not None and not batch.schema.equals(target_schema, check_metadata=False):
                raise ValueError("it has other columns")
            yield batch


def load(path: Path, task: str, split: str) -> Predictions:
    """Read the rows of one task and split.

    Raises:
        ProjectError: When the file is missing or damaged.
    """
    with _reading(path, fix="run mml predict"):
        table = _read(path, task, split)
    try:
        # Sort while reading: a sorted copy of the table would need memory again for each of its columns.
        ids = table["sample_id"].to_pylist()
        if None in ids:
            raise ValueError("a row has no name")
        order = sorted(range(len(ids)), key=ids.__getitem__)
        places = np.empty(len(ids), np.int64)
        places[order] = np.arange(len(ids))
        rows = Predictions(
            [ids[row] for row in order],
            _targets(table, places),
            _matrix(table, "logits", places),
            _calibrated(table, places),
        )
    except ValueError as error:
        raise ProjectError(problem(str(path), f"is damaged ({error})", fix="run mml predict")) from error
    if rows.targets.ndim == 1 and len(rows) and rows.targets.max() >= rows.logits.shape[1]:
        wrong = f"has class number {rows.targets.max()}, but predictions of {rows.logits.shape[1]} classes"
        raise ProjectError(problem(str(path), wrong, fix="run mml predict"))
    return rows


def write_calibrated(path: Path, calibrated: Mapping[tuple[str, str], npt.NDArray[Any]]) -> None:
    """Durably fill the column `calibrated` of a file; other rows keep their values.

    Args:
        path: The file.
        calibrated: For each (task, split) the values, shape (n, outputs), in the order of `load`.

    Raises:
        ProjectError: When the file is unreadable, or has another number of rows.
    """
    with _reading(path), parquet.opened(path) as file:
        names, its = file.read(["task", "split", "sample_id"]), file.schema_arrow
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, pair in enumerate(zip(names["task"].to_pylist(), names["split"].to_pylist(), strict=True)):
        rows_of[pair].append(index)
    ids = names["sample_id"].to_pylist()
    # For each row of the file, the source of its values, and the row in it.
    source, places = np.full(len(ids), -1), np.zeros(len(ids), np.int64)
    for number, (pair, matrix) in enumerate(calibrated.items()):
        rows = sorted(rows_of[pair], key=ids.__getitem__)
        if len(rows) != len(matrix):
            raise ProjectError(problem(str(path), f"has {counted(len(rows), 'row')} of {pair}, not {len(matrix)}"))
        source[rows], places[rows] = number, np.arange(len(rows))
    column = its.get_field_index("calibrated")
    its = its.set(column, pa.field("calibrated", pa.list_(pa.float32())))
    values, first = list(calibrated.values()), 0
    with files.durable(path) as temporary, pq.ParquetWriter(temporary, its, write_page_checksum=True) as parquet_writer:
        # A limited number of rows at a time: the whole table would be in memory several times.
        for batch in _batches(path, _ROW_GROUP):
            table, own = pa.Table.from_batches([batch]), slice(first, first + len(batch))
            filled = _filled(table, values, source[own], places[own])
            parquet_writer.write_table(table.set_column(column, its.field(column), filled), row_group_size=_ROW_GROUP)
            first += len(batch)


def _filled(
    table: pa.Table,
    values: Sequence[npt.NDArray[Any]],
    source: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> pa.Array:
    """Return the column `calibrated` of some rows: the old values, unless a row gets one of `values`.

    Args:
        table: The rows.
        values: Arrays of shape (n, outputs).
        source: The index of a row's array in `values`; -1: none.
        places: The row in that array.
    """
    # Lengths, never the lists themselves, which would create a Python object for every class of every row.
    lengths = (chunk.value_lengths().to_pylist() for chunk in table["calibrated"].chunks)
    is_filled = np.array([length is not None for chunk in lengths for length in chunk], bool)
    matrix = np.zeros_like(_matrix(table, "logits"))
    if is_filled.any():
        matrix[is_filled] = _matrix(table.take(pa.array(np.flatnonzero(is_filled).tolist(), pa.int64())), "calibrated")
    for number in np.unique(source[source >= 0]):
        matrix[source == number] = values[number][places[source == number]]
    is_filled |= source >= 0
    # Missing rows are empty lists that are masked.
    offsets = np.concatenate([[0], np.cumsum(is_filled * matrix.shape[1])]).astype(np.int32)
    return pa.ListArray.from_arrays(
        _arrow_array(offsets, pa.int32()),
        _arrow_array(np.ascontiguousarray(matrix[is_filled], np.float32).ravel(), pa.float32()),
        mask=pa.array((~is_filled).tolist(), pa.bool_()),
    )


def contents(path: Path) -> dict[tuple[str, str], int]:
    """Return the number of rows of each (task, split) in a file."""
    with _reading(path), parquet.opened(path) as file:
        table = file.read(["task", "split"])
    counted = table.group_by(["task", "split"]).aggregate([([], "count_all")]).to_pylist()
    return {(row["task"], row["split"]): row["count_all"] for row in counted}


def sample_ids(path: Path, tasks: Collection[str]) -> set[str]:
    """Return the names of all samples of some tasks with rows in a file.

    Raises:
        ProjectError: When the file is unreadable.
    """
    with _reading(path), parquet.opened(path) as file:
        table = file.read(["task", "sample_id"])
    pairs = zip(table["task"].to_pylist(), table["sample_id"].to_pylist(), strict=True)
    return {name for task, name in pairs if task in tasks}


@contextmanager
def _reading(path: Path, fix: str = "remove it and run mml predict") -> Iterator[None]:
    """Report an unreadable file to the user; unrelated errors (out of memory) pass."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        if is_out_of_memory(error):
            raise
        raise ProjectError(problem(str(path), f"cannot be read as predictions ({error})", fix=fix)) from error


def _read(path: Path, task: str, split: str) -> pa.Table:
    """Read the rows of one task and split, one row group at a time."""
    parts = []
    with parquet.opened(path) as stored:
        _require_columns(stored.schema_arrow)
        for group in range(stored.num_row_groups):
            table = stored.read_row_group(group)
            pairs = zip(table["task"].to_pylist(), table["split"].to_pylist(), strict=True)
            parts += [
                table.slice(start, length) for start, length in _true_runs([pair == (task, split) for pair in pairs])
            ]
        columns = stored.schema_arrow
    return pa.concat_tables(parts) if parts else pa.Table.from_batches([], columns)


def _require_columns(stored_schema: pa.Schema) -> None:
    """Refuse a file that does not have `schema`, whatever its kind.

    Raises:
        pa.ArrowInvalid: Naming the column that is missing or of another type.
    """
    for name in ("task", "sample_id", "split", "target", "logits", "calibrated"):
        place = stored_schema.get_field_index(name)
        column_type = stored_schema.field(place).type if place >= 0 else None
        if column_type is None or not any(
            _is_same_type(column_type, schema(kind).field(name).type) for kind in kinds.names()
        ):
            raise pa.ArrowInvalid(f"its column {name} is {column_type or 'missing'}")


def _is_same_type(data_type: pa.DataType, other: pa.DataType) -> bool:
    """Return whether two types are equal; the name of list items differs between writers."""
    if pa.types.is_list(data_type) and pa.types.is_list(other):
        return bool(data_type.value_type == other.value_type)
    return bool(data_type == other)


def _true_runs(chosen: list[bool]) -> Iterator[tuple[int, int]]:
    """Return (start, length) of each run of True; slicing needs no pandas, which pyarrow's own filters import."""
    start = 0
    for value, run in itertools.groupby(chosen):
        length = len(list(run))
        if value:
            yield start, length
        start += length


def _matrix(table: pa.Table, column: str, places: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
    """Return a column of equally long lists as a matrix, each row at its place; None: in order."""
    parts = [(len(chunk), chunk.flatten()) for chunk in table[column].chunks]
    # Check the lengths in the rows before allocating an array of the claimed size.
    widths = {width for chunk in table[column].chunks for width in set(chunk.value_lengths().to_pylist())}
    if table[column].null_count or len(widths) > 1 or any(flat.null_count for _, flat in parts):
        raise ValueError(f"its rows of {column} are not all of one length")
    out, start = np.empty((table.num_rows, max(widths, default=0)), np.float32), 0
    for count, flat in parts:
        own = slice(start, start + count)
        if len(flat):
            numbers = np.frombuffer(flat.buffers()[1], np.float32, count=len(flat), offset=4 * flat.offset)
            out[own if places is None else places[own]] = numbers.reshape(count, -1)
        start += count
    return out


def _targets(table: pa.Table, places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    if pa.types.is_list(table.schema.field("target").type):
        return _matrix(table, "target", places)
    targets = np.array([-1 if target is None else target for target in table["target"].to_pylist()], np.int64)
    ordered = np.empty_like(targets)
    ordered[places] = targets
    return ordered


def _lists(values: npt.NDArray[Any]) -> pa.Array:
    """Return a matrix as a column of lists."""
    n, width = values.shape
    offsets = np.arange(0, (n + 1) * width, max(width, 1), dtype=np.int32)[: n + 1]
    flat = _arrow_array(np.ascontiguousarray(values, np.float32).ravel(), pa.float32())
    return pa.ListArray.from_arrays(_arrow_array(offsets, pa.int32()), flat)


def _numbers_or_null(targets: npt.NDArray[np.int64]) -> pa.Array:
    """Return class numbers, with null for negative ones."""
    return pa.array([None if target < 0 else target for target in targets.tolist()], pa.int64())


def _arrow_array(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return an array without nulls that shares NumPy's memory; `pa.array` would import pandas to inspect it."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _calibrated(table: pa.Table, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
    return None if table.num_rows == 0 or table["calibrated"].null_count else _matrix(table, "calibrated", places)
