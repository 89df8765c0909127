"""Remove half-written files of processes known to be dead when a run starts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlpipe import files
from mlpipe.runs import journal

# Names made by `files.temporary_name`: the process's number, its machine and a random suffix.
_TEMPORARY = re.compile(r"^\..+\.tmp-(?P<pid>\d+)-(?:(?P<machine>[0-9a-f]{8}))?[0-9a-f]{8}$")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of an unfinished file."""
    return _TEMPORARY.match(name) is not None


def process_of(name: str) -> int:
    """Return the number of the process that writes an unfinished file, on whatever machine."""
    match = _TEMPORARY.match(name)
    assert match is not None
    return int(match["pid"])


def is_dead(name: str) -> bool:
    """Return whether the process that wrote an unfinished file, on this machine since its boot, has ended."""
    match = _TEMPORARY.match(name)
    return match is not None and match["machine"] == files.machine() and not journal.is_alive(int(match["pid"]))


def dead_files(root: Path, *, deep: bool = True) -> Iterator[Path]:
    """Return unfinished files and folders of dead processes below a folder; links are neither followed nor returned.

    Args:
        root: The folder.
        deep: Whether to search its subfolders too.
    """
    for folder, folders, names in os.walk(root):
        dead_names = [name for name in (*folders, *names) if is_dead(name)]
        folders[:] = [name for name in folders if deep and not is_temporary(name)]
        yield from (path for name in sorted(dead_names) if not (path := Path(folder) / name).is_symlink())


def sweep(root: Path, *, deep: bool = True) -> list[Path]:
    """Delete the results of `dead_files`, except those of other users.

    Args:
        root: The folder.
        deep: Whether to search its subfolders too.

    Returns:
        The deleted paths.
    """
    paths = list(dead_files(root, deep=deep))
    for path in paths:
        # Another process that starts at the same time may be deleting the same path, a part of which is then missing.
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return [path for path in paths if not path.exists()]
