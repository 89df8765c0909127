"""Folders and archives as sources: zip and tar are unpacked safely, without links, hidden files or paths out of the folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from mlpipe import current_folder, files, limits
from mlpipe.data import visible_files
from mlpipe.errors import DataError, did_you_mean, problem

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_CHUNK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
)
# The message of zipfile for a member whose checksum does not match.
_CHANGED = re.compile(r"Bad CRC-32 for file '(.*)'$", re.DOTALL)
_FIX = "download or pack it again"
_GROWS = f"it unpacks to more than {limits.GROWTH} times its own size"
# The largest tar header, and the bytes that are unpacked at once.
_MOST_AT_ONCE = 16 << 20


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: Its name as written.
        size: Its size in bytes, as the archive declares it.
        is_folder: Whether it is a folder.
        refusal: Why it cannot be unpacked; empty if it can.
        handle: The archive library's object for it.
    """

    name: str
    size: int
    is_folder: bool
    refusal: str
    handle: Any


class _Opened(Protocol):
    def members(self) -> list[Member]: ...

    def open(self, member: Member) -> IO[bytes]: ...


def is_archive(path: Path) -> bool:
    """Return whether a file has the name of an archive that `unpack` reads."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Return an archive's name without its extensions."""
    ending = next(end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(end))
    return path.name[: -len(ending)]


def unpacked(path: Path, below: Path) -> Path:
    """Return the folder with an archive's content; the archive is unpacked the first time.

    The folder's name holds the hash of the archive, so that other content never takes its place.

    Raises:
        DataError: As for `unpack`.
    """
    with _reading(path, _FIX), _opened(path):
        # Before the file is hashed, which takes minutes if it is large.
        pass
    folder = below / f"{files.safe_name(stem(path))}-{files.digest_file(path)[:12]}"
    if not folder.is_dir():
        temporary = folder.with_name(files.temporary_name(folder))
        try:
            unpack(path, temporary)
            try:
                temporary.rename(folder)
            except OSError:
                # Another process was faster, with the same content.
                if not folder.is_dir():
                    raise
            files.sync_folder(below)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def unpack(path: Path, to: Path, *, fix: str = _FIX) -> None:
    """Unpack a zip or tar archive into a new folder; nothing is written when any member is unsafe.

    Refused are absolute names, names with `..` or backslashes, links, devices, encrypted members, two members of the same
    name (ignoring case and Unicode composition), more bytes than the disk has free, and more than 256 MiB that are also more
    than a hundred times the archive's own size. Only regular files and folders are created, with the permissions
    of the process.

    Args:
        path: The archive.
        to: The folder.
        fix: The advice if it is damaged.

    Raises:
        DataError: With a sentence for every unsafe member, or if the archive is damaged.
    """
    with _reading(path, fix), _opened(path) as archive:
        members = archive.members()
        if wrong := _problems(path, members, files.nearest_existing(to)):
            raise DataError(wrong)
        to.mkdir(parents=True)
        for member in members:
            _write(archive, member, to / member.name.rstrip("/"), path)


@contextmanager
def _reading(path: Path, fix: str) -> Iterator[None]:
    """Report an error of reading an archive in a sentence."""
    try:
        yield
    except _DAMAGED as error:
        raise DataError(problem(str(path), f"cannot be unpacked ({_reason(error)})", fix=fix)) from error


def _reason(error: BaseException) -> str:
    """Return in words why an archive cannot be read; libraries report checksums and codes."""
    text = str(error)
    if changed := _CHANGED.match(text):
        return f"{changed[1]} was changed since it was packed: its checksum does not fit"
    if isinstance(error, zlib.error | lzma.LZMAError):
        return "its compressed bytes are damaged"
    if isinstance(error, EOFError):
        return "its end is missing"
    return text


def _write(archive: _Opened, member: Member, target: Path, path: Path) -> None:
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    byte_count = 0
    with archive.open(member) as source, target.open("xb") as sink:
        while piece := source.read(_CHUNK):
            byte_count += len(piece)
            if byte_count > member.size:
                wrong = f"{member.name} is larger than the archive says"
                raise DataError(problem(str(path), wrong, fix="do not trust this archive"))
            sink.write(piece)


def _problems(path: Path, members: list[Member], disk: Path) -> list[str]:
    problems = [problem(f"{path.name}: {member.name}", member.refusal) for member in members if member.refusal]
    names: dict[str, str] = {}
    for member in members:
        if not member.is_folder:
            other = names.setdefault(unicodedata.normalize("NFC", member.name).casefold(), member.name)
            if other is not member.name:
                problems.append(problem(f"{path.name}: {member.name}", f"comes twice (also as {other})"))
    needed, free = sum(member.size for member in members), shutil.disk_usage(disk).free
    if needed > free:
        problems.append(problem(str(path), f"unpacks to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"))
    if needed > _unpacked_limit(path.stat().st_size):
        problems.append(problem(str(path), f"unpacks to {needed / path.stat().st_size:,.0f} times its own size"))
    if len(problems) > 10:
        problems = [*problems[:10], problem(str(path), f"{len(problems) - 10} further members are unsafe")]
    if problems:
        problems.append(problem(str(path), "was not unpacked", fix="unpack it yourself, and name the folder"))
    return problems


def _unsafe_name(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not name.strip("/") or "\0" in name:
        return "has no usable name"
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":"):
        return "has an absolute path or a backslash in its name"
    return "has a path out of the folder" if ".." in parts else ""


def _unpacked_limit(stored: int) -> int:
    """Return the number of bytes that an archive may unpack to: images hardly compress, so extreme ratios are attacks."""
    return max(limits.ARCHIVE, limits.GROWTH * stored)


class _Zip:
    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    def members(self) -> list[Member]:
        return [
            Member(info.filename, info.file_size, info.is_dir(), self._refusal(info), info)
            for info in self._opened.infolist()
        ]

    def open(self, member: Member) -> IO[bytes]:
        return self._opened.open(member.handle)

    @staticmethod
    def _refusal(info: zipfile.ZipInfo) -> str:
        # The upper 16 bits hold the Unix mode; 0o12 is a symbolic link, 0o10 a file, 0o04 a folder, 0 is unspecified.
        if (info.external_attr >> 28) not in (0o00, 0o04, 0o10):
            return "is a link or a device"
        if info.flag_bits & 0x1:
            return "is encrypted; unpack it yourself and name the folder"
        return _unsafe_name(info.orig_filename)


class _Tar:
    def __init__(self, opened: tarfile.TarFile, stored: int) -> None:
        self._opened, self._stored = opened, stored

    def members(self) -> list[Member]:
        members, size = list[Member](), 0
        for info in self._opened:
            own = info.size if info.isreg() else 0
            if info.name.strip("./"):
                members.append(Member(info.name, own, info.isdir(), self._refusal(info), info))
            # Checked before the next member, which lies after all bytes that this header claims.
            size += own
            if size > _unpacked_limit(self._stored):
                raise ValueError(_GROWS)
        return members

    def open(self, member: Member) -> IO[bytes]:
        stream = self._opened.extractfile(member.handle)
        assert stream is not None
        return stream

    @staticmethod
    def _refusal(info: tarfile.TarInfo) -> str:
        if not (info.isreg() or info.isdir()):
            return "is a link or a device"
        return _unsafe_name(info.name)


# Signatures of compressed files, and the decompressors for them.
_PACKINGS: Mapping[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x5d\0\0": lzma.LZMAFile,
}


class _Bounded:
    """A tar that is unpacked only up to a plausible size, and little at a time.

    To find a member, everything before it is decompressed, and a header may claim to be gigabytes long.

    Args:
        file: The decompressed stream.
        stored: The size of the archive.
        is_packed: Whether it is compressed at all.
    """

    def __init__(self, file: IO[bytes], stored: int, *, is_packed: bool) -> None:
        self._file, self._most, self._is_packed = file, _unpacked_limit(stored), is_packed

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes.

        Raises:
            ValueError: If they exceed the plausible size.
        """
        if not 0 <= size <= _MOST_AT_ONCE:
            raise ValueError("it has a header that is too long")
        content = self._file.read(size)
        if self._file.tell() > self._most:
            raise ValueError(_GROWS)
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        """Move to a position; everything before it is decompressed."""
        assert whence == 0
        while self._is_packed and self._file.tell() < place:
            if not self.read(min(_CHUNK, place - self._file.tell())):
                return self._file.tell()
        return self._file.tell() if self._file.tell() == place else self._file.seek(place)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as zipped:
            yield _Zip(zipped)
        return
    limits.require_ordinary(path)
    with path.open("rb") as plain:
        begin = plain.read(8)
        plain.seek(0)
        packing = next((opener for sign, opener in _PACKINGS.items() if begin.startswith(sign)), None)
        with nullcontext(plain) if packing is None else packing(plain) as file:
            bounded = _Bounded(file, path.stat().st_size, is_packed=packing is not None)
            with tarfile.open(fileobj=bounded, mode="r:") as tarred:  # type: ignore[call-overload]
                yield _Tar(tarred, path.stat().st_size)


def opened(root: str, data_dir: str | None, key: str) -> Path:
    """Return the absolute path of a folder; an archive is first unpacked below the data folder.

    If an archive holds everything in a single folder, that folder is returned.

    Raises:
        DataError: If it is neither a folder nor an archive.
    """
    if not str(root).strip():
        raise DataError(problem(key, "a folder is needed", fix=f"add {key}=DIR"))
    if re.match(r"[a-z][a-z0-9+]+://", str(root)):
        fix = f"download it first, then write {key}=FILE or {key}=DIR"
        raise DataError(problem(key, "is an address, no folder", got=root, fix=fix))
    base = current_folder.expanded(root).absolute()
    if base.is_file() and is_archive(base):
        if data_dir is None:
            raise DataError(problem(key, "is an archive, and there is no data_dir to unpack it in", got=root))
        base = unpacked(base, current_folder.expanded(data_dir).absolute() / "archives")
        while len(inside := visible_files.entries(base)) == 1:
            if not inside[0].is_dir() or not visible_files.folders(inside[0]):
                break
            base = inside[0]
        return base
    if base.is_file():
        is_table = key == "task.root" and base.suffix.lower() in (".csv", ".tsv", ".parquet")
        fix = f"write task=csv task.file={root}" if is_table else "name a folder, or a zip or tar archive"
        raise DataError(problem(key, "is a file, no folder", got=root, fix=fix))
    if not base.is_dir():
        fix = did_you_mean(base.name, _siblings(base), otherwise="name an existing folder, or a zip or tar archive")
        raise DataError(problem(key, "there is no such folder", got=str(base), fix=fix))
    return base


def _siblings(base: Path) -> list[str]:
    return [entry.name for entry in base.parent.iterdir() if entry.is_dir()] if base.parent.is_dir() else []
