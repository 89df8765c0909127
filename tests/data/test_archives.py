"""Archives: what is safe comes out as it went in; what is not leaves nothing behind."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpipe.data import archives
from mlpipe.errors import DataError

CONTENT = {"cats/one.txt": b"1" * 10, "dogs/two.txt": b"2" * 2_000_000, "dogs/empty.txt": b""}


def make_zip(path: Path, content: dict[str, bytes], *, links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def make_tar(path: Path, content: dict[str, bytes], *, special: list[tarfile.TarInfo] | None = None) -> Path:
    mode = {"gz": "w:gz", "xz": "w:xz", "z2": "w:bz2"}.get(path.name[-2:], "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special or []:
            archive.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def files_below(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "A.TAR.BZ2"])
def test_what_went_in_comes_out(tmp_path: Path, name: str) -> None:
    path = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, CONTENT)
    assert archives.is_archive(path) and archives.stem(path).lower() == "a"
    folder = archives.unpacked(path, tmp_path / "below")
    assert files_below(folder) == CONTENT
    marked = folder / "cats/one.txt"
    marked.write_bytes(b"mark")
    assert archives.unpacked(path, tmp_path / "below") == folder and marked.read_bytes() == b"mark"
    assert [entry.name for entry in (tmp_path / "below").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: make_zip(p / "a.zip", {"../out.txt": b""}), "../out.txt: has a path out of the folder"),
        (lambda p: make_zip(p / "a.zip", {"/etc/x": b""}), "/etc/x: has an absolute path"),
        (lambda p: make_zip(p / "a.zip", {"a\\..\\x": b""}), "has an absolute path or a backslash"),
        (lambda p: make_zip(p / "a.zip", {"C:/x": b""}), "has an absolute path or a backslash"),
        (lambda p: make_zip(p / "a.zip", {}, links={"l": "/etc"}), "l: is a link or a device"),
        (lambda p: make_zip(p / "a.zip", {"x.txt": b"", "X.TXT": b""}), "X.TXT: comes twice"),
        (lambda p: make_tar(p / "a.tar", {"a/../../out.txt": b""}), "has a path out of the folder"),
        (lambda p: make_tar(p / "a.tar", {}, special=[special("l", tarfile.SYMTYPE, "/etc")]), "l: is a link"),
        (lambda p: make_tar(p / "a.tar", {}, special=[special("h", tarfile.LNKTYPE, "x")]), "h: is a link"),
        (lambda p: make_tar(p / "a.tar", {}, special=[special("f", tarfile.FIFOTYPE)]), "f: is a link or a device"),
        (lambda p: make_tar(p / "a.tar", {}, special=[special("d", tarfile.CHRTYPE)]), "d: is a link or a device"),
    ],
)
def test_what_is_unsafe_is_named_and_nothing_is_written(
    tmp_path: Path, make: Callable[[Path], Path], sentence: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(DataError) as refused:
        archives.unpacked(path, tmp_path / "below")
    assert any(sentence in text for text in refused.value.problems)
    assert not (tmp_path / "below").exists() and list(tmp_path.iterdir()) == [path]


def test_a_link_that_a_later_member_would_be_written_through(tmp_path: Path) -> None:
    """F16: a link in a tar wrote outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    path = make_tar(tmp_path / "a.tar", {}, special=[special("d", tarfile.SYMTYPE, str(outside))])
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("d/x.txt")
        archive.addfile(info, io.BytesIO(b""))
    with pytest.raises(DataError, match="is a link"):
        archives.unpacked(path, tmp_path / "below")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_damaged_archive_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, {"x.txt": os.urandom(100_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match="cannot be unpacked"):
        archives.unpacked(path, tmp_path / "below")
    assert not list((tmp_path / "below").glob("*")) if (tmp_path / "below").exists() else True


def test_a_size_that_lies_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.txt": b"0" * 5000})
    content = bytearray(path.read_bytes())
    # The size in the central directory, which is what the member list shows.
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(DataError):
        archives.unpacked(path, tmp_path / "below")


def test_more_than_the_disk_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", CONTENT)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: _Usage(1000))
    with pytest.raises(DataError, match="unpacks to 0.0 GB, 0.0 GB are free"):
        archives.unpacked(path, tmp_path / "below")


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_file_that_is_no_archive_is_refused_before_it_is_hashed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4" + bytes(2048))
    monkeypatch.setattr(archives.files, "digest_file", lambda path: pytest.fail("it was hashed"))
    with pytest.raises(DataError, match="cannot be unpacked"):
        archives.unpacked(tmp_path / name, tmp_path / "data")
