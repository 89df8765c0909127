"""Parquet files that say to hold more than their bytes could."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpipe import limits, parquet


def rows_of(path: Path) -> int:
    with parquet.opened(path) as file:
        return int(file.read().num_rows)


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    names = [f"a/{number}.png" for number in range(5000)]
    table = pa.table({"path": names, "label": ["x", "y"] * 2500, "row": [[1.0, 2.0]] * 5000, "n": range(5000)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=1000)
    assert rows_of(tmp_path / "t.parquet") == 5000
    pq.write_table(
        table, tmp_path / "t.parquet", data_page_version="2.0", write_page_checksum=True, write_page_index=True
    )
    assert rows_of(tmp_path / "t.parquet") == 5000
    pq.write_table(table.slice(0, 0), tmp_path / "t.parquet")
    assert rows_of(tmp_path / "t.parquet") == 0


def test_one_long_text_for_each_row_is_more_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of a kilobyte, stored once, is ten megabytes where 10,000 rows have it."""
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    numbers, names = np.zeros(10_000, np.int32), [str(number) for number in range(10_000)]
    long, short = (pa.DictionaryArray.from_arrays(numbers, [text]) for text in ("x" * 1000, "x"))
    pq.write_table(pa.table({"path": names, "label": long}), tmp_path / "long.parquet", compression="zstd")
    size = (tmp_path / "long.parquet").stat().st_size
    assert limits.GROWTH * size < 10_000_000
    with pytest.raises(ValueError, match=r"long.parquet would have 10,\d\d\d,\d\d\d bytes"):
        rows_of(tmp_path / "long.parquet")
    # The most that there may be, a column's bytes for each row, says nothing of a short one.
    pq.write_table(pa.table({"path": names, "label": short}), tmp_path / "short.parquet", compression="zstd")
    assert rows_of(tmp_path / "short.parquet") == 10_000


def test_rows_and_numbers_of_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"n": pa.array(np.zeros(1_500_000, np.int8))}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="it says to have 1,500,000 rows in"):
        rows_of(tmp_path / "rows.parquet")
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    wide = pa.array(np.zeros(1_000_000, np.float32))
    column = pa.ListArray.from_arrays(pa.array([0, 1_000_000], pa.int32()), wide)
    pq.write_table(pa.table({"logits": column}), tmp_path / "wide.parquet")
    with pytest.raises(ValueError, match=r"wide.parquet would have 4,000,000 bytes"):
        rows_of(tmp_path / "wide.parquet")


@pytest.mark.parametrize("has_dictionary", [False, True])
def test_what_the_end_of_a_file_says_of_its_pages_is_not_believed(
    has_dictionary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are numbers of the compact protocol of Thrift, as long as before."""
    path, texts = tmp_path / "t.parquet", ["x" * 10_000 + str(number) for number in range(300)]
    options = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    pq.write_table(pa.table({"label": texts}), path, use_dictionary=has_dictionary, **options)
    content = path.read_bytes()
    size = pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    true, told = (bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128, n >> 21]) for n in (2 * size, 2000))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert content[footer:].count(true) == 2
    path.write_bytes(content[:footer] + content[footer:].replace(true, told))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 1000
    assert rows_of(path) == 300
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    with pytest.raises(ValueError, match=r"t.parquet would have 3,\d\d\d,\d\d\d bytes"):
        rows_of(path)


def test_pages_without_an_end_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": [1, 2]}), path)
    content = bytearray(path.read_bytes())
    for bad in (
        b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x1c" * 12,
        b"\x19" * 12,
        b"\x15\x00\x15\x01\x15\x01\x00",
    ):
        content[4 : 4 + len(bad)] = bad
        path.write_bytes(content)
        with pytest.raises(ValueError, match="page|number"):
            rows_of(path)


def test_no_ordinary_file_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.parquet")
    with pytest.raises(OSError, match="no ordinary file"):
        rows_of(tmp_path / "p.parquet")


def test_column_chunks_are_those_of_arrow(tmp_path: Path) -> None:
    path, names = tmp_path / "t.parquet", [f"{number % 7}" for number in range(500)]
    table = pa.table({"path": names, "row": [[1.0, 2.0]] * 500, "n": [None, 1] * 250, "yes": [True, False] * 250})
    for options in ({}, {"data_page_version": "2.0", "write_page_checksum": True, "write_page_index": True}):
        pq.write_table(table, path, row_group_size=200, **options)
        with pq.ParquetFile(path) as file:
            columns = parquet._columns(path, file)
            assert [(column.group, column.number) for column in columns] == [(g, c) for g in range(3) for c in range(4)]
            for column in columns:
                chunk = file.metadata.row_group(column.group).column(column.number)
                assert column.values == chunk.num_values
                assert column.pages.has_dictionary == chunk.has_dictionary_page
                # That of the footer counts the headers of pages too.
                assert 0 < column.pages.size <= chunk.total_uncompressed_size < column.pages.size + 500


def test_whichever_bit_of_a_footer_is_flipped_the_process_goes_on(tmp_path: Path) -> None:
    """Arrow's accessors end the process for some: they throw in C++ where Python's side does not catch."""
    path, outcomes = tmp_path / "t.parquet", set()
    pq.write_table(pa.table({"n": [1, None]}), path, store_schema=False)
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for bit in range(8 * start, 8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(content))
        try:
            rows_of(path)
        except (OSError, ValueError) as error:
            outcomes.add("statistics" if "level histogram size" in str(error) else "damage")
        else:
            outcomes.add("whole")
    assert outcomes == {"statistics", "damage", "whole"}
