"""Hostile archives: members that leave the folder, link, lie about their size, hide, or come twice."""

from __future__ import annotations

import bz2
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.safety.corpus import Hostile


def png(seed: int = 0) -> bytes:
    """A small picture; another for each seed."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def good() -> dict[str, bytes]:
    """The members of an archive that is a task: two classes, six pictures each."""
    return {f"{label}/{index}.png": png(10 * number + index) for number, label in enumerate("ab") for index in range(6)}


def _create(work: Path, name: str) -> list[str]:
    return ["create", "task=folder", f"task.root={name}"]


def _zip(
    members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None
) -> Callable[..., list[str]]:
    """An archive of good members and hostile ones; `change` is applied to the hostile ones."""

    def make(work: Path) -> list[str]:
        with zipfile.ZipFile(work / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in good().items():
                archive.writestr(name, content)
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED
                change(info)
                archive.writestr(info, content)
        return _create(work, "a.zip")

    return make


def _tar(special: Iterable[tuple[str, bytes, str]]) -> Callable[[Path], list[str]]:
    """A tar of good members and of special ones: name, type, where it leads."""

    def make(work: Path) -> list[str]:
        with tarfile.open(work / "a.tar", "w") as archive:
            for name, content in good().items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for name, kind, target in special:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                archive.addfile(info, io.BytesIO(b""))
        return _create(work, "a.tar")

    return make


def _link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def _twice(work: Path) -> list[str]:
    with tarfile.open(work / "a.tar", "w") as archive:
        for content in (png(1), png(2)):
            info = tarfile.TarInfo("a/1.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return _create(work, "a.tar")


def _patched(pattern: bytes, at: int, value: bytes) -> Callable[[Path], list[str]]:
    """A good zip whose last record that begins with `pattern` is changed."""

    def make(work: Path) -> list[str]:
        arguments = _zip({})(work)
        content = bytearray((work / "a.zip").read_bytes())
        start = content.rindex(pattern) + at
        content[start : start + len(value)] = value
        (work / "a.zip").write_bytes(bytes(content))
        return arguments

    return make


def _header(name: str, kind: bytes, size: int) -> Callable[[Path], list[str]]:
    """A packed tar whose first header says that so many bytes follow, of which nothing is there."""

    def make(work: Path) -> list[str]:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, size
        (work / "a.tar.bz2").write_bytes(bz2.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16)))
        return _create(work, "a.tar.bz2")

    return make


def _raw(name: str, content: bytes) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        (work / name).write_bytes(content)
        return _create(work, name)

    return make


def _bomb(work: Path) -> list[str]:
    """More than a gigabyte of nothing in a few megabytes."""
    with zipfile.ZipFile(work / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index in range(17):
            archive.writestr(f"a/{index}.png", bytes(1 << 26))
    return _create(work, "a.zip")


def _overlapping(work: Path) -> list[str]:
    """Many members that share the bytes of one."""
    with zipfile.ZipFile(work / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(1 << 20))
        first = archive.infolist()[0]
        for index in range(1, 2000):
            info = zipfile.ZipInfo(f"a/{index}.png")
            info.compress_type, info.CRC = first.compress_type, first.CRC
            info.compress_size, info.file_size, info.header_offset = first.compress_size, first.file_size, 0
            archive.filelist.append(info)
    return _create(work, "a.zip")


def _pax_lie(work: Path) -> list[str]:
    info = tarfile.TarInfo("a/1.png")
    info.size = 10**15
    (work / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    return _create(work, "a.tar")


def _nested(work: Path) -> list[str]:
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("../../outside/x.png", png())
    return _zip({"a/inner.zip": inside.getvalue()})(work)


_ENCRYPTED = struct.pack("<H", 1)
CASES = [
    Hostile("zip: a member that climbs out", _zip({"../../outside/x.png": png()}), "has a path out of the folder"),
    Hostile("zip: an absolute member", _zip({"/tmp/x.png": png()}), "has an absolute path"),
    Hostile(
        "zip: backslashes that climb out", _zip({"a\\..\\..\\x.png": png()}), "has an absolute path or a backslash"
    ),
    Hostile("zip: a drive of Windows", _zip({"C:/x.png": png()}), "has an absolute path or a backslash"),
    Hostile("zip: a symbolic link", _zip({"a/link": b"/etc"}, _link), "is a link or a device"),
    Hostile("zip: names that differ in case only", _zip({"A/0.PNG": png()}), "comes twice"),
    Hostile(
        "zip: names that differ in how ä is written",
        _zip({"a/\u00e4.png": png(), "a/a\u0308.png": png(3)}),
        "comes twice",
    ),
    Hostile("zip: a name with commands to the terminal", _zip({"../\x1b]0;owned\x07.png": png()}), r"\x1b]0;owned"),
    Hostile("zip: a name of 300 letters", _zip({f"a/{'x' * 300}.png": png()}), "cannot be unpacked"),
    Hostile("zip: an encrypted member", _patched(b"PK\x01\x02", 8, _ENCRYPTED), "is encrypted"),
    Hostile("zip: a way of packing that nobody has", _patched(b"PK\x01\x02", 10, b"\x63\x00"), "cannot be unpacked"),
    Hostile("zip: a checksum that lies", _patched(b"PK\x01\x02", 16, b"\0\1\2\3"), "cannot be unpacked"),
    Hostile("zip: a size that lies", _patched(b"PK\x01\x02", 24, b"\1\0\0\0"), "a.zip"),
    Hostile("zip: a name that is not in its alphabet", _patched(b"PK\x01\x02", 46, b"\xff\xfe"), "a.zip"),
    Hostile(
        "zip: a directory that begins nowhere", _patched(b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"), "cannot be unpacked"
    ),
    Hostile(
        "zip: 65,535 members declared, none there",
        _raw("a.zip", b"PK\x05\x06" + b"\0" * 4 + b"\xff\xff" * 2 + bytes(10)),
        "has no class folders",
    ),
    Hostile("zip: a gigabyte of nothing in a few megabytes", _bomb, "times its own size"),
    Hostile("zip: members that share one another's bytes", _overlapping, "a.zip"),
    Hostile("zip: an archive in the archive", _nested, "created task", code=0),
    Hostile("zip: no archive at all", _raw("a.zip", b"MZ\x90\x00" * 100), "cannot be unpacked"),
    Hostile("tar: a member that climbs out", _tar([("../../outside/x", tarfile.REGTYPE, "")]), "has a path out"),
    Hostile("tar: an absolute member", _tar([("/tmp/x", tarfile.REGTYPE, "")]), "has an absolute path"),
    Hostile("tar: a symbolic link", _tar([("a/link", tarfile.SYMTYPE, "/etc")]), "is a link or a device"),
    Hostile("tar: a hard link", _tar([("a/link", tarfile.LNKTYPE, "/etc/passwd")]), "is a link or a device"),
    Hostile("tar: a device", _tar([("a/null", tarfile.CHRTYPE, "")]), "is a link or a device"),
    Hostile("tar: a pipe", _tar([("a/pipe", tarfile.FIFOTYPE, "")]), "is a link or a device"),
    Hostile(
        "tar: a link, then a file through it",
        _tar([("d", tarfile.SYMTYPE, "../../outside"), ("d/x", tarfile.REGTYPE, "")]),
        "is a link",
    ),
    Hostile("tar: one name twice", _twice, "comes twice"),
    Hostile("tar: a petabyte declared", _pax_lie, "a.tar"),
    Hostile("tar: 100 GB of nothing, packed", _header("a/0.png", tarfile.REGTYPE, 100 << 30), "times its own size"),
    Hostile("tar: a header of 7 GB, packed", _header("x", tarfile.XHDTYPE, 7 << 30), "has a header that is too long"),
    Hostile(
        "tar: a long name of 7 GB", _header("x", tarfile.GNUTYPE_LONGNAME, 7 << 30), "has a header that is too long"
    ),
    Hostile(
        "tar: cut off in a compressed block",
        _raw("a.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xed\xfd"),
        "cannot be unpacked",
    ),
    Hostile("tar: noise", _raw("a.tar.xz", b"\xfd7zXZ\0" + bytes(range(256))), "cannot be unpacked"),
]
