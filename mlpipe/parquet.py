"""Read untrusted Parquet files: files that decode to far more than their size allows are refused."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# Field numbers of parquet.thrift: of a page header, of the footer down to the metadata of a column chunk, and of that metadata.
_TYPE, _UNPACKED, _PACKED, _DICTIONARY = 1, 2, 3, 2
_ROW_GROUPS, _CHUNKS, _METADATA = 4, 1, 3
_VALUES, _CHUNK_PACKED, _DATA_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11
# The deepest nesting of structures in a header or footer.
_DEEPEST = 16
# Types of Thrift's compact protocol; integers of all sizes are numbers of any length.
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY = (1, 2), 3, (4, 5, 6), 7, 8
_LISTS, _MAP, _STRUCT = (9, 10), 11, 12
# The last bytes of a file: the length of the footer and a mark.
_END = 8
# Reads a field's value: from the content, the position and the type to the value and the position after it.
_Read = Callable[[mmap.mmap, int, int], tuple[Any, int]]


class _Pages(NamedTuple):
    """The unpacked bytes of the pages of a column chunk, and whether a dictionary is among them."""

    size: int
    has_dictionary: bool


class _Column(NamedTuple):
    """A column of a row group: its number of values, and its pages."""

    group: int
    number: int
    values: int
    pages: _Pages


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
        columns = _columns(path, file)
        limits.require_growth(stored, sum(column.pages.size for column in columns), path.name)
        try:
            limits.require_growth(stored, _most_bytes(file, columns), path.name)
        except ValueError:
            # Equal texts are stored once, so that the most there may be says little: how long they are together is looked at.
            limits.require_growth(stored, _bytes(path, file, columns), path.name)
        yield file


def _most_bytes(file: pq.ParquetFile, columns: Sequence[_Column]) -> int:
    """Return the most bytes that a file can have decoded."""
    return sum(_column_bytes(file, column, None) for column in columns)


def _bytes(path: Path, file: pq.ParquetFile, columns: Sequence[_Column]) -> int:
    """Return the bytes that a file has decoded; texts are read as numbers of dictionary entries."""
    of_texts = [
        file.schema.column(column).path for column in range(file.metadata.num_columns) if _is_text(file, column)
    ]
    with pq.ParquetFile(path, read_dictionary=of_texts) as numbered:
        return sum(_column_bytes(file, column, numbered) for column in columns)


def _columns(path: Path, file: pq.ParquetFile) -> list[_Column]:
    """Return every column chunk with its pages, whose sizes are those of their own headers: nobody checks those of the footer.

    The footer is parsed here because Arrow's `RowGroupMetaData.column` ends the process by an uncaught C++ exception if the
    statistics of a chunk do not fit its schema, as after a flipped bit. Arrow's readers raise errors for such a file.
    """
    columns = list[_Column]()
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        length = int.from_bytes(content[-_END : -_END + 4], "little")
        if length > limits.RECORD:
            raise ValueError(f"its footer has {length:,} bytes, more than the {limits.RECORD:,} that are read")
        start = len(content) - _END - length
        try:
            groups = _fields(content, start, {_ROW_GROUPS: _row_groups})[0].get(_ROW_GROUPS, [])
        except (IndexError, KeyError) as error:
            raise ValueError("its footer is damaged") from error
        for group, chunks in enumerate(groups):
            if len(chunks) != file.metadata.num_columns:
                raise ValueError(f"row group {group} has {len(chunks)} of {file.metadata.num_columns} columns")
            for number, chunk in enumerate(chunks):
                try:
                    columns.append(_Column(group, number, chunk[_VALUES], _chunk_pages(content, chunk)))
                except (IndexError, KeyError) as error:
                    name = file.schema.column(number).path
                    raise ValueError(f"the pages of column {name} are damaged") from error
    return columns


def _chunk_pages(content: mmap.mmap, chunk: Mapping[int, int]) -> _Pages:
    """Return the pages of a column chunk with these fields of its metadata."""
    if not chunk[_VALUES]:
        # Nothing is read of it, and some writers give no valid offsets.
        return _Pages(0, has_dictionary=False)
    start = chunk[_DATA_PAGE]
    if 0 < chunk.get(_DICTIONARY_PAGE, 0) < start:
        start = chunk[_DICTIONARY_PAGE]
    if min(start, chunk[_VALUES], chunk[_CHUNK_PACKED]) < 0:
        raise IndexError("before the beginning")
    return _pages(content, start, start + chunk[_CHUNK_PACKED])


def _row_groups(content: mmap.mmap, at: int, kind: int) -> tuple[list[list[dict[int, int]]], int]:
    """Read the row groups of a footer: for each the metadata of its column chunks."""
    return _list(content, at, kind, lambda place: _inner(content, place, {_CHUNKS: _chunks}, _CHUNKS))


def _chunks(content: mmap.mmap, at: int, kind: int) -> tuple[list[dict[int, int]], int]:
    return _list(content, at, kind, lambda place: _inner(content, place, {_METADATA: _metadata}, _METADATA))


def _metadata(content: mmap.mmap, at: int, kind: int) -> tuple[dict[int, int], int]:
    if kind != _STRUCT:
        raise KeyError(kind)
    return _fields(content, at, dict.fromkeys((_VALUES, _CHUNK_PACKED, _DATA_PAGE, _DICTIONARY_PAGE), _integer))


def _inner(content: mmap.mmap, at: int, wanted: Mapping[int, _Read], field: int) -> tuple[Any, int]:
    """Read a structure and return the value of one of its fields."""
    fields, end = _fields(content, at, wanted)
    return fields[field], end


def _list(content: mmap.mmap, at: int, kind: int, element: Callable[[int], tuple[Any, int]]) -> tuple[list[Any], int]:
    """Read a list of structures."""
    if kind not in _LISTS:
        raise KeyError(kind)
    size, element_kind, at = _list_head(content, at)
    if element_kind != _STRUCT:
        raise KeyError(element_kind)
    values = []
    for _ in range(size):
        value, at = element(at)
        values.append(value)
    return values, at


def _list_head(content: mmap.mmap, at: int) -> tuple[int, int, int]:
    """Return the size and the element type of a list, and the position of its first element."""
    head, at = content[at], at + 1
    size = head >> 4
    if size == 15:
        size, at = _number(content, at)
    if size > len(content) - at:
        raise IndexError("a list is longer than its file")
    return size, head & 15, at


def _integer(content: mmap.mmap, at: int, kind: int) -> tuple[int, int]:
    if kind not in _INTEGERS:
        raise KeyError(kind)
    raw, at = _number(content, at)
    return _signed(raw), at


def _pages(content: mmap.mmap, start: int, end: int) -> _Pages:
    size, has_dictionary = 0, False
    wanted = dict.fromkeys((_TYPE, _UNPACKED, _PACKED), _integer)
    while start < end:
        fields, start = _fields(content, start, wanted)
        if min(fields[_UNPACKED], fields[_PACKED]) < 0:
            raise ValueError("a page has fewer bytes than none")
        size, start = size + fields[_UNPACKED], start + fields[_PACKED]
        has_dictionary |= fields[_TYPE] == _DICTIONARY
    return _Pages(size, has_dictionary)


def _fields(content: mmap.mmap, at: int, wanted: Mapping[int, _Read]) -> tuple[dict[int, Any], int]:
    """Read the wanted fields of a structure of parquet.thrift, and return them and the position after the structure."""
    fields, field = dict[int, Any](), 0
    while head := content[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            raw, at = _number(content, at)
            field = _signed(raw)
        if field in wanted:
            fields[field], at = wanted[field](content, at, head & 15)
        else:
            at = _field_end(content, at, head & 15, 0)
    return fields, at + 1


def _field_end(content: mmap.mmap, at: int, kind: int, depth: int) -> int:
    """Return the position after a field's value, which is skipped."""
    if depth > _DEEPEST:
        raise ValueError("its structures are nested too deeply")
    if kind in _BOOLEANS:
        # The value is the type itself.
        return at
    if kind in _INTEGERS:
        return _number(content, at)[1]
    if kind == _BINARY:
        length, at = _number(content, at)
        return at + length
    if kind in _LISTS:
        size, element, at = _list_head(content, at)
        for _ in range(size):
            at = _element_end(content, at, element, depth + 1)
        return at
    if kind == _STRUCT:
        while head := content[at]:
            at += 1
            if not head >> 4:
                at = _number(content, at)[1]
            at = _field_end(content, at, head & 15, depth + 1)
        return at + 1
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    if kind == _MAP and not content[at]:
        return at + 1
    raise ValueError(f"it has a field of type {kind}")


def _element_end(content: mmap.mmap, at: int, kind: int, depth: int) -> int:
    """Return the position after an element of a list, in which a boolean is a byte."""
    return at + 1 if kind in _BOOLEANS else _field_end(content, at, kind, depth)


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


def _is_text(file: pq.ParquetFile, column: int) -> bool:
    """Return whether a column has strings or bytes of variable length and is not part of lists or mappings."""
    field = file.schema.column(column)
    return bool(field.physical_type == "BYTE_ARRAY" and field.max_repetition_level == 0 and "." not in field.path)


def _column_bytes(file: pq.ParquetFile, column: _Column, numbered: pq.ParquetFile | None) -> int:
    """Return the decoded bytes of a column of a row group; of texts at most, or as `numbered` shows."""
    field, pages = file.schema.column(column.number), column.pages
    if field.physical_type != "BYTE_ARRAY":
        return column.values * _WIDTHS.get(field.physical_type, max(int(field.length), 1))
    if numbered is not None and _is_text(file, column.number):
        lengths = 0
        for part in numbered.read_row_group(column.group, columns=[field.path]).column(0).chunks:
            if isinstance(part, pa.DictionaryArray):
                sizes = pc.take(pc.cast(pc.binary_length(part.dictionary), pa.int64()), part.indices)
                lengths += int(pc.sum(sizes).as_py() or 0)
            else:
                lengths += int(part.nbytes)
        return lengths
    return pages.size * (max(column.values, 1) if pages.has_dictionary else 1)
