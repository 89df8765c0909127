"""Parquet files that anybody may have written: none that stands for far more than it could honestly hold is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe import limits
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa, pc, pq = LazyModule("pyarrow"), LazyModule("pyarrow.compute"), LazyModule("pyarrow.parquet")

# Bytes of a value of each physical type of a fixed size; of texts what they hold counts.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
# Rows are told apart by a name, of which each has a byte at least.
_FEW_ROWS = 1_000_000


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """A file that is open for reading, of a size that its bytes let expect.

    Args:
        path: The file.
        options: Options of `pyarrow.parquet.ParquetFile`.

    Raises:
        OSError: When it cannot be opened, or is no ordinary file.
        ValueError: When it is damaged, or is far larger decoded than stored; Arrow's own errors are such ones.
    """
    stored = limits.require_ordinary(path)
    with pq.ParquetFile(path, **options) as file:
        rows = file.metadata.num_rows
        if rows > max(stored, _FEW_ROWS):
            raise ValueError(f"it says to have {rows:,} rows in {stored:,} bytes")
        try:
            limits.require_growth(stored, _most_bytes(file), path.name)
        except ValueError:
            # Equal texts are stored once, so that the most there may be says little: how long they are together is looked at.
            limits.require_growth(stored, _bytes(path, file), path.name)
        yield file


def _most_bytes(file: pq.ParquetFile) -> int:
    """Bytes that a file has decoded, at most."""
    return sum(_of_column(file, group, column, None) for group, column in _columns(file))


def _bytes(path: Path, file: pq.ParquetFile) -> int:
    """Bytes that a file has decoded; texts are read as numbers of them."""
    of_texts = [
        file.schema.column(column).path for column in range(file.metadata.num_columns) if _is_text(file, column)
    ]
    found = 0
    with pq.ParquetFile(path, read_dictionary=of_texts) as numbered:
        for group, column in _columns(file):
            found += _of_column(file, group, column, numbered)
    return found


def _columns(file: pq.ParquetFile) -> Iterator[tuple[int, int]]:
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            yield group, column


def _is_text(file: pq.ParquetFile, column: int) -> bool:
    """Whether a column has texts or bytes of any length, which are no part of lists or mappings."""
    one = file.schema.column(column)
    return bool(one.physical_type == "BYTE_ARRAY" and one.max_repetition_level == 0 and "." not in one.path)


def _of_column(file: pq.ParquetFile, group: int, column: int, numbered: pq.ParquetFile | None) -> int:
    """Bytes of a column of a row group, decoded; of texts the most there may be, or what `numbered` shows."""
    chunk, one = file.metadata.row_group(group).column(column), file.schema.column(column)
    if one.physical_type != "BYTE_ARRAY":
        return int(chunk.num_values) * _WIDTHS.get(one.physical_type, max(int(one.length), 1))
    if numbered is not None and _is_text(file, column):
        lengths = 0
        for part in numbered.read_row_group(group, columns=[one.path]).column(0).chunks:
            if isinstance(part, pa.DictionaryArray):
                each = pc.take(pc.cast(pc.binary_length(part.dictionary), pa.int64()), part.indices)
                lengths += int(pc.sum(each).as_py() or 0)
            else:
                lengths += int(part.nbytes)
        return lengths
    return int(chunk.total_uncompressed_size) * (max(int(chunk.num_values), 1) if chunk.has_dictionary_page else 1)
