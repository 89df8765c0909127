"""Files are read whole within limits: no pipe is waited for, no device read to its end, nothing unpacked beyond all sense."""

from __future__ import annotations

import os
import re
import signal
import time
import zipfile
from pathlib import Path

import pytest

from mlpipe import limits


def test_an_ordinary_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\r\nb\x7f")
    assert limits.content(path, 5) == b"a\r\nb\x7f" and limits.require_ordinary(path) == 5
    assert limits.text(path) == "a\nb\x7f"
    (tmp_path / "link").symlink_to(path)
    assert limits.content(tmp_path / "link", 5) == b"a\r\nb\x7f"


def test_a_file_that_is_larger_than_its_kind_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as handle:
        handle.truncate(1 << 40)
    for read in (limits.content, limits.require_ordinary):
        with pytest.raises(OSError, match=r"^it has 1,099,511,627,776 bytes, more than the 100 that are read$"):
            read(path, 100)


@pytest.mark.parametrize("read", [limits.content, limits.require_ordinary])
def test_what_is_no_file_is_neither_read_nor_waited_for(read: object, tmp_path: Path) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match=r"^it is no ordinary file$"):
            read(tmp_path / name, 100)
    with pytest.raises(IsADirectoryError):
        read(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none", 100)


def test_what_is_packed_may_grow_a_hundredfold_beyond_a_gigabyte() -> None:
    limits.require_growth(0, 1 << 30, "x")
    limits.require_growth(1 << 25, 100 << 25, "x")
    with pytest.raises(ValueError, match=r"^x would have 3,355,443,201 bytes, of which 33,554,432 are stored$"):
        limits.require_growth(1 << 25, (100 << 25) + 1, "x")


def test_members_of_an_archive_grow_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve megabytes of nothing in members of one each, none of which is too much by itself."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(12):
            archive.writestr(f"{number}.npy", bytes(1 << 20))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        limits.require_members(archive)
        monkeypatch.setattr(limits, "UNPACKED", 2 << 20)
        with pytest.raises(ValueError, match=r"^all of it would have 12,582,912 bytes"):
            limits.require_members(archive)
        monkeypatch.setattr(limits, "UNPACKED", 1 << 19)
        with pytest.raises(ValueError, match=r"^0\.npy would have 1,048,576 bytes"):
            limits.require_members(archive)


def test_what_computes_without_end_is_ended() -> None:
    before, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(TimeoutError, match=r"^more than 0\.2 seconds$"), limits.seconds(0.2):
        re.search("(a+)+$", "a" * 60 + "b")
    assert time.monotonic() - started < 5
    with limits.seconds(0.2):
        pass
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_zero_byte_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"a": 1}' + bytes(9))
    with pytest.raises(UnicodeDecodeError, match="it has a zero byte at 8"):
        limits.text(tmp_path / "x")
