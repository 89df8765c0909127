"""Read untrusted Parquet files: files that decode to far more than their size allows are refused."""

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

# Bytes per value of the physical types of fixed size; strings count by content.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
# Rows have names to identify them, each of at least one byte.
_FEW_ROWS = 1_000_000
# Field numbers of a page header, the value of its type for a dictionary page, and the maximum nesting depth of fields.
_TYPE, _UNPACKED, _PACKED, _DICTIONARY, _DEEPEST = 1, 2, 3, 2, 8
# Types of Thrift's compact protocol: 32-bit integers, all variable-length integers, binary, and structures.
_INT, _NUMBERS, _BINARY, _STRUCT = 5, (4, 5, 6), 8, 12


class _Pages(NamedTuple):
    """Uncompressed bytes of the pages of a column in a row group, and whether one of them is a dictionary."""

    size: int
    has_dictionary: bool


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a file for reading whose decoded size is plausible for its bytes.

    Args:
        path: The file.
        options: Options of `pyarrow.parquet.ParquetFile`.

    Raises:
        OSError: When it cannot be opened, or is not an ordinary file.
        ValueError: When it is damaged, or decodes to far more than its size; Arrow's own errors are subclasses.
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
            # Equal strings are stored once, so that the upper bound is loose: compute the actual total length.
            limits.require_growth(stored, _bytes(path, file, pages), path.name)
        yield file


def _most_bytes(file: pq.ParquetFile, pages: dict[tuple[int, int], _Pages]) -> int:
    """Return an upper bound of the decoded size of a file."""
    return sum(_column_bytes(file, *place, pages[place], None) for place in _columns(file))


def _bytes(path: Path, file: pq.ParquetFile, pages: dict[tuple[int, int], _Pages]) -> int:
    """Return the decoded size of a file; strings are read as dictionary indices."""
    of_texts = [
        file.schema.column(column).path for column in range(file.metadata.num_columns) if _is_text(file, column)
    ]
    total = 0
    with pq.ParquetFile(path, read_dictionary=of_texts) as numbered:
        for place in _columns(file):
            total += _column_bytes(file, *place, pages[place], numbered)
    return total


def _all_pages(path: Path, file: pq.ParquetFile) -> dict[tuple[int, int], _Pages]:
    """Return the pages of each column of each row group from the page headers, because the file's footer is not verified."""
    pages = dict[tuple[int, int], _Pages]()
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for group, column in _columns(file):
            chunk = file.metadata.row_group(group).column(column)
            if not chunk.num_values:
                # Empty columns are never read, and some writers give them no valid offset.
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
    """Parse the first fields of a page header (parquet.thrift, compact protocol); return them and the end of the header."""
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
    """Return the end of a skipped field; lists and mappings, which page headers never have, are damage."""
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
    # A boolean is stored in the type itself.
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
    """Decode a zigzag-encoded number, whose sign is its last bit."""
    return (raw >> 1) ^ -(raw & 1)


def _columns(file: pq.ParquetFile) -> Iterator[tuple[int, int]]:
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            yield group, column


def _is_text(file: pq.ParquetFile, column: int) -> bool:
    """Return whether a column has strings or bytes of variable length and is not part of lists or mappings."""
    field = file.schema.column(column)
    return bool(field.physical_type == "BYTE_ARRAY" and field.max_repetition_level == 0 and "." not in field.path)


def _column_bytes(file: pq.ParquetFile, group: int, column: int, pages: _Pages, numbered: pq.ParquetFile | None) -> int:
    """Return the decoded size of a column of a row group; for strings an upper bound, or exactly if `numbered` is given."""
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
