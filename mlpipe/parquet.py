"""Parquet files that anybody may have written: none that stands for far more than it could honestly hold is read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
# Fields of the header of a page, the value of its first for the page of a dictionary, and how deep its fields lie in each other.
_TYPE, _UNPACKED, _PACKED, _DICTIONARY, _DEEPEST = 1, 2, 3, 2, 8
# Types of Thrift's compact protocol: whole numbers of 32 bits, and those of which every value is a number of any length.
_INT, _NUMBERS, _BINARY, _STRUCT = 5, (4, 5, 6), 8, 12


class _Pages(NamedTuple):
    """What the pages of a column of a row group are, unpacked: their bytes, and whether a dictionary is among them."""

    size: int
    has_dictionary: bool


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
        pages = _all_pages(path, file)
        limits.require_growth(stored, sum(column_pages.size for column_pages in pages.values()), path.name)
        try:
            limits.require_growth(stored, _most_bytes(file, pages), path.name)
        except ValueError:
            # Equal texts are stored once, so that the most there may be says little: how long they are together is looked at.
            limits.require_growth(stored, _bytes(path, file, pages), path.name)
        yield file


def _most_bytes(file: pq.ParquetFile, pages: dict[tuple[int, int], _Pages]) -> int:
    """Bytes that a file has decoded, at most."""
    return sum(_column_bytes(file, *place, pages[place], None) for place in _columns(file))


def _bytes(path: Path, file: pq.ParquetFile, pages: dict[tuple[int, int], _Pages]) -> int:
    """Bytes that a file has decoded; texts are read as numbers of them."""
    of_texts = [
        file.schema.column(column).path for column in range(file.metadata.num_columns) if _is_text(file, column)
    ]
    total = 0
    with pq.ParquetFile(path, read_dictionary=of_texts) as numbered:
        for place in _columns(file):
            total += _column_bytes(file, *place, pages[place], numbered)
    return total


def _all_pages(path: Path, file: pq.ParquetFile) -> dict[tuple[int, int], _Pages]:
    """The pages of each column of each row group, as their own headers say: what the end of a file says of them nobody checks."""
    pages = dict[tuple[int, int], _Pages]()
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for group, column in _columns(file):
            chunk = file.metadata.row_group(group).column(column)
            if not chunk.num_values:
                # Nothing is read of it, and some writers say that it lies nowhere.
                pages[group, column] = _Pages(0, has_dictionary=False)
                continue
            start = int(chunk.data_page_offset)
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = int(chunk.dictionary_page_offset)
            try:
                pages[group, column] = _pages(content, start, start + int(chunk.total_compressed_size))
            except (IndexError, KeyError) as error:
                raise ValueError(f"the pages of column {chunk.path_in_schema} are damaged") from error
    return pages


def _pages(content: mmap.mmap, start: int, end: int) -> _Pages:
    size, has_dictionary = 0, False
    while start < end:
        fields, start = _header(content, start)
        if min(fields[_UNPACKED], fields[_PACKED]) < 0:
            raise ValueError("a page has fewer bytes than none")
        size, start = size + fields[_UNPACKED], start + fields[_PACKED]
        has_dictionary |= fields[_TYPE] == _DICTIONARY
    return _Pages(size, has_dictionary)


def _header(content: mmap.mmap, at: int) -> tuple[dict[int, int], int]:
    """The first fields of the header of a page (parquet.thrift, in the compact protocol of Thrift), and where it ends."""
    fields, field = dict[int, int](), 0
    while head := content[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            raw, at = _number(content, at)
            field = _signed(raw)
        if head & 15 == _INT and field in (_TYPE, _UNPACKED, _PACKED):
            raw, at = _number(content, at)
            fields[field] = _signed(raw)
        else:
            at = _field_end(content, at, head & 15, 0)
    return fields, at + 1


def _field_end(content: mmap.mmap, at: int, kind: int, depth: int) -> int:
    """Where a field that does not count ends; lists and mappings, which no header has, are damage."""
    if depth > _DEEPEST:
        raise ValueError("the header of a page lies in itself")
    if kind in _NUMBERS:
        return _number(content, at)[1]
    if kind == _BINARY:
        length, at = _number(content, at)
        return at + length
    if kind == _STRUCT:
        while head := content[at]:
            at += 1
            if not head >> 4:
                at = _number(content, at)[1]
            at = _field_end(content, at, head & 15, depth + 1)
        return at + 1
    # A yes or no stands in the type itself.
    if kind in (1, 2):
        return at
    raise ValueError(f"the header of a page has a field of type {kind}")


def _number(content: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = content[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number of the header of a page has no end")


def _signed(raw: int) -> int:
    """A number whose sign is its last bit."""
    return (raw >> 1) ^ -(raw & 1)


def _columns(file: pq.ParquetFile) -> Iterator[tuple[int, int]]:
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            yield group, column


def _is_text(file: pq.ParquetFile, column: int) -> bool:
    """Whether a column has texts or bytes of any length, which are no part of lists or mappings."""
    field = file.schema.column(column)
    return bool(field.physical_type == "BYTE_ARRAY" and field.max_repetition_level == 0 and "." not in field.path)


def _column_bytes(file: pq.ParquetFile, group: int, column: int, pages: _Pages, numbered: pq.ParquetFile | None) -> int:
    """Bytes of a column of a row group, decoded; of texts the most there may be, or what `numbered` shows."""
    chunk, field = file.metadata.row_group(group).column(column), file.schema.column(column)
    if field.physical_type != "BYTE_ARRAY":
        return int(chunk.num_values) * _WIDTHS.get(field.physical_type, max(int(field.length), 1))
    if numbered is not None and _is_text(file, column):
        lengths = 0
        for part in numbered.read_row_group(group, columns=[field.path]).column(0).chunks:
            if isinstance(part, pa.DictionaryArray):
                sizes = pc.take(pc.cast(pc.binary_length(part.dictionary), pa.int64()), part.indices)
                lengths += int(pc.sum(sizes).as_py() or 0)
            else:
                lengths += int(part.nbytes)
        return lengths
    return pages.size * (max(int(chunk.num_values), 1) if pages.has_dictionary else 1)
