"""Files below a folder, without those that systems and programs hide there: one rule for every source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from mlpipe.data.decoding import images
from mlpipe.errors import DataError, counted, listing, problem

# Folders of network drives, trash and recovered files, in lower case.
_HIDDEN_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"}
)
_HIDDEN_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
# Images of phones, cameras, scanners and drawing programs in formats that are not read.
_UNREAD = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".psd", ".svg"}
    | {".dcm", ".dicom", ".nii", ".svs", ".ndpi", ".mrxs"}
)


def is_hidden(name: str, *, is_folder: bool) -> bool:
    """Return whether a name is not that of data: `.ipynb_checkpoints`, `._x.jpg`, `__MACOSX`, `@eaDir`, `Thumbs.db`.

    Args:
        name: The name of a file or folder.
        is_folder: Whether it is a folder.
    """
    if name.startswith("."):
        return True
    if is_folder:
        return name.startswith("__") or name.lower() in _HIDDEN_FOLDERS
    return name.lower() in _HIDDEN_FILES


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name, without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name, is_folder=entry.is_dir()))


def folders(folder: Path) -> list[Path]:
    """Return the sub-folders of a folder, sorted by name, without hidden ones."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def files_below(base: Path, ends: Collection[str] | None = None) -> list[Path]:
    """Return every file below a folder with one of these extensions, without hidden ones, in a fixed order.

    Args:
        base: The folder; its own name and those of its parents do not matter.
        ends: Extensions in lower case; None: all files.

    Raises:
        DataError: If a folder below it cannot be listed.
    """
    return sorted(file for file, is_out in _walk(base) if not is_out and (ends is None or file.suffix.lower() in ends))


def images_below(base: Path) -> list[Path]:
    """Return every image file below a folder, as for `files_below`."""
    return files_below(base, images.EXTENSIONS)


def notes(bases: Sequence[Path], ends: Collection[str] = images.EXTENSIONS) -> list[str]:
    """Return a sentence that counts the hidden files below folders, and one that counts images of formats that are not read.

    Args:
        bases: The folders, which may be nested.
        ends: The extensions of files that count.
    """
    places: dict[Path, str] = {}
    unread: dict[Path, str] = {}
    for base in bases:
        for file, is_out in _walk(base) if base.is_dir() else ():
            if is_out and file.suffix.lower() in ends:
                places[file] = _hidden_part(file.relative_to(base))
            elif not is_out and file.suffix.lower() in _UNREAD - set(ends):
                unread[file] = file.suffix.lower()
    return _hidden_note(places) + _unread_note(unread)


def _unread_note(unread: Mapping[Path, str]) -> list[str]:
    if not unread:
        return []
    formats = listing([f"{end} ({count})" for end, count in Counter(unread.values()).most_common()], most=5)
    verb = "is" if len(unread) == 1 else "are"
    return [
        f"{counted(len(unread), 'image')} {verb} left out, because the format is not read: {formats}; convert to PNG or JPEG"
    ]


def _hidden_note(places: Mapping[Path, str]) -> list[str]:
    if not places:
        return []
    counts = Counter(places.values())
    summary = listing([f"{name} ({count})" if count > 1 else name for name, count in counts.most_common()], most=5)
    is_single = len(places) == 1
    return [f"{len(places)} hidden file{'' if is_single else 's'} {'is' if is_single else 'are'} left out: {summary}"]


def _hidden_part(path: Path) -> str:
    """Return the hidden folder that contains a file, or the file itself."""
    for name in path.parts[:-1]:
        if is_hidden(name, is_folder=True):
            return f"{name}/"
    return path.name


def _walk(base: Path) -> Iterator[tuple[Path, bool]]:
    """Yield every file below a folder, and whether it is hidden; linked folders are not followed."""

    def refuse(error: OSError) -> NoReturn:
        fix = "give the right to read it, or move it elsewhere"
        name = str(error.filename)
        name = name if len(name) < 300 else f"{name[:100]}... ({len(name)} characters)"
        raise DataError(problem(name, f"cannot be listed ({error.strerror})", fix=fix))

    # A list instead of recursion, because folders may be nested deeper than the recursion limit.
    waiting = [(str(base), False)]
    while waiting:
        folder, is_out = waiting.pop()
        try:
            with os.scandir(folder) as scan:
                inside = list(scan)
        except OSError as error:
            refuse(error)
        below = [entry for entry in inside if entry.is_dir(follow_symlinks=False)]
        waiting += [(entry.path, is_out or is_hidden(entry.name, is_folder=True)) for entry in reversed(below)]
        for path in (Path(entry.path) for entry in inside if not entry.is_dir(follow_symlinks=False)):
            # Skip broken links, and entries that are not files.
            if path.is_file():
                yield path, is_out or is_hidden(path.name, is_folder=False)
