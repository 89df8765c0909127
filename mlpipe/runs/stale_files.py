"""Removal of half-written files of killed processes when a run starts, once it is known that they are dead."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mlpipe import files
from mlpipe.runs import journal

# Names that `files.temporary_name` gives: the process's number, its machine and a random end.
_TEMPORARY = re.compile(r"^\..+\.tmp-(?P<pid>\d+)-(?:(?P<machine>[0-9a-f]{8}))?[0-9a-f]{8}$")


def is_temporary(name: str) -> bool:
    """Whether a name is that of something unfinished."""
    return _TEMPORARY.match(name) is not None


def process_of(name: str) -> int:
    """The process that makes something unfinished, of whatever machine."""
    match = _TEMPORARY.match(name)
    assert match is not None
    return int(match["pid"])


def is_dead(name: str) -> bool:
    """Whether the process that made something unfinished is known to have ended: one of this machine, since it started."""
    match = _TEMPORARY.match(name)
    return match is not None and match["machine"] == files.machine() and not journal.is_alive(int(match["pid"]))


def dead_files(root: Path, *, deep: bool = True) -> Iterator[Path]:
    """Unfinished files and folders of dead processes below a folder; links are neither followed nor given.

    Args:
        root: The folder.
        deep: Below its folders too.
    """
    for folder, folders, names in os.walk(root):
        dead_names = [name for name in (*folders, *names) if is_dead(name)]
        folders[:] = [name for name in folders if deep and not is_temporary(name)]
        yield from (path for name in sorted(dead_names) if not (path := Path(folder) / name).is_symlink())


def sweep(root: Path, *, deep: bool = True) -> list[Path]:
    """Delete what `dead_files` finds.

    Args:
        root: The folder.
        deep: Below its folders too.

    Returns:
        What was deleted.
    """
    paths = list(dead_files(root, deep=deep))
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return paths
